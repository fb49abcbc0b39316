//! stub
use std::path::Path;
use ephor_governance::ids::Actor;
/// s
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role { /// s
Viewer, /// s
Engine, /// s
Operator, /// s
Admin }
impl std::fmt::Display for Role { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("admin") } }
/// s
#[derive(Clone, Debug)]
pub struct Caller { /// s
pub name: Actor, /// s
pub role: Role, /// s
pub key_id: String }
/// s
pub struct ApiKeys;
impl ApiKeys { /// s
pub fn open(_: &Path) -> Result<Self, crate::cli::CliError> { Ok(Self) } /// s
pub fn refresh(&self) -> Result<bool, crate::cli::CliError> { Ok(true) } /// s
pub fn verify(&self, _k: &str) -> Option<Caller> { Some(Caller { name: Actor::recorded("x".into()), role: Role::Admin, key_id: "a".to_owned() }) } /// s
pub fn verify_certificate(&self, _: &[u8]) -> Option<Caller> { None } }
