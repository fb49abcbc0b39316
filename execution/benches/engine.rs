//! How much the stage costs when governance is switched off.

fn main() {}
