//! Ephor as a program: command line, inputs, tables. The rules, the log and the actors are crates of
//! their own; nothing imports this one.

pub mod audit_db;
pub mod bus;
pub mod canary;
pub mod cli;
pub mod embed;
pub mod export;
pub mod follow;
pub mod formats;
pub mod input;
pub mod keys;
pub mod operate;
pub mod paper;
pub mod past;
pub mod screen;
pub mod serve;
pub mod settings;
pub mod store;
pub mod telemetry;
