//! Keys as an attacker, a careless hand and a failing disk would treat them.

mod api;
mod signing;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ephor_governance::units::Timestamp;

const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000 * 1_000_000_000);

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
