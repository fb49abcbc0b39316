//! API keys: who gets in, who does not, and when.

use std::path::Path;

use ephor_governance::ids::Actor;

use super::super::KeysError;
use super::super::api::{self, ApiKeys, Credential, Entry, Permission, Role};
use super::{NOW, mode, set_mode};

fn made(data: &Path, name: &str, role: Role) -> (Entry, String) {
    let (entry, key) = api::create(data, name.parse().unwrap(), role, None, NOW).unwrap();
    (entry, key.unwrap().reveal().to_owned())
}

#[test]
fn a_key_opens_for_its_owner_and_nothing_near_it_does() {
    let data = tempfile::tempdir().unwrap();
    let (entry, key) = made(data.path(), "alice", Role::Operator);
    let (_, other) = made(data.path(), "bob", Role::Viewer);
    let keys = ApiKeys::open(data.path()).unwrap();
    let caller = keys.verify(&key).unwrap();
    assert_eq!((caller.name.as_str(), caller.role, &caller.key_id), ("alice", Role::Operator, &entry.id));
    assert_eq!(keys.verify(&other).unwrap().name.as_str(), "bob");

    let secret = key.rsplit_once(&format!("{}_", entry.id)).unwrap().1;
    let swapped = other.replacen(other.split('_').nth(1).unwrap(), &entry.id, 1);
    let mut near = vec![
        String::new(),
        "ephor_".to_owned(),
        entry.id.clone(),
        secret.to_owned(),
        format!("ephor_{}", entry.id),
        format!("ephor_{}_", entry.id),
        format!("{key} "),
        format!(" {key}"),
        format!("{key}A"),
        key.to_uppercase(),
        swapped,
    ];
    for at in 0..key.len() {
        let mut bytes = key.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        near.push(String::from_utf8(bytes).unwrap());
        near.push(key[..at].to_owned());
    }
    for wrong in near {
        assert_eq!(keys.verify(&wrong), None, "{wrong}");
    }
}

#[test]
fn the_file_holds_no_secret_and_debug_shows_none() {
    let data = tempfile::tempdir().unwrap();
    let (entry, key) = api::create(data.path(), "alice".parse().unwrap(), Role::Admin, None, NOW).unwrap();
    let key = key.unwrap();
    let secret = key.reveal().rsplit_once(&format!("{}_", entry.id)).unwrap().1;
    assert_eq!(secret.len(), 43, "32 bytes");
    let file = std::fs::read_to_string(data.path().join("keys/api-keys.json")).unwrap();
    assert!(file.contains(&blake3::hash(secret.as_bytes()).to_hex().to_string()), "{file}");
    let keys = ApiKeys::open(data.path()).unwrap();
    let shown = format!("{file} {key:?} {keys:?} {entry:?} {:?}", keys.verify(key.reveal()));
    assert!(!shown.contains(secret), "{shown}");
    assert_eq!(mode(&data.path().join("keys")), 0o700);
    for name in ["api-keys.json", "lock"] {
        assert_eq!(mode(&data.path().join("keys").join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_revocation_is_seen_at_the_next_look_and_stays() {
    let data = tempfile::tempdir().unwrap();
    let (alice, key) = made(data.path(), "alice", Role::Admin);
    let keys = ApiKeys::open(data.path()).unwrap();
    assert!(!keys.refresh().unwrap(), "nothing has changed");
    assert_eq!(api::revoke(data.path(), &alice.id, NOW).unwrap().revoked_at, Some(NOW));
    assert!(keys.verify(&key).is_some(), "not looked at yet");
    assert!(keys.refresh().unwrap());
    assert_eq!(keys.verify(&key), None);
    assert!(!keys.refresh().unwrap());
    let again = api::revoke(data.path(), &alice.id, NOW).unwrap_err();
    assert!(matches!(again, KeysError::AlreadyRevoked { .. }) && again.is_callers());
    assert!(matches!(api::revoke(data.path(), "none", NOW), Err(KeysError::UnknownKey { .. })));
    let (_, key) = made(data.path(), "alice", Role::Viewer);
    keys.refresh().unwrap();
    assert_eq!(keys.verify(&key).unwrap().role, Role::Viewer);
    assert_eq!(keys.list().len(), 2);
}

#[test]
fn a_look_sees_every_one_of_many_quick_changes() {
    let data = tempfile::tempdir().unwrap();
    let (entry, key) = made(data.path(), "alice", Role::Admin);
    let path = data.path().join("keys/api-keys.json");
    let keys = ApiKeys::open(data.path()).unwrap();
    // The same length each time, and often the same moment: only the inode tells them apart.
    let texts = ["admin_", "viewer"].map(|role| {
        let text = std::fs::read_to_string(&path).unwrap();
        text.replace("\"role\": \"admin\"", &format!("\"role\": \"{}\"", role.trim_end_matches('_')))
            + if role == "admin_" { "  " } else { " " }
    });
    for round in 0..200 {
        let role = [Role::Admin, Role::Viewer][round % 2];
        let draft = data.path().join("draft");
        std::fs::write(&draft, &texts[round % 2]).unwrap();
        set_mode(&draft, 0o600);
        std::fs::rename(&draft, &path).unwrap();
        assert!(keys.refresh().unwrap(), "round {round}");
        assert_eq!(keys.verify(&key).map(|caller| caller.role), Some(role), "round {round}, {}", entry.id);
    }
}

#[test]
fn a_damaged_file_lets_nobody_in_until_it_is_mended() {
    let data = tempfile::tempdir().unwrap();
    let (entry, key) = made(data.path(), "alice", Role::Admin);
    let path = data.path().join("keys/api-keys.json");
    let whole = std::fs::read_to_string(&path).unwrap();
    let keys = ApiKeys::open(data.path()).unwrap();
    let mut damaged: Vec<String> = (0..whole.len() - 1).map(|end| whole[..end].to_owned()).collect();
    let row = whole.split_once('[').unwrap().1.rsplit_once(']').unwrap().0.trim();
    damaged.extend([
        whole.replace("\"version\": 1", "\"version\": 2"),
        whole.replace("\"role\": \"admin\"", "\"role\": \"root\""),
        whole.replace("\"role\"", "\"rights\": [], \"role\""),
        whole.replace("\"name\": \"alice\"", "\"name\": \"\""),
        whole.replace("\"revoked_at\": null", "\"revoked_at\": \"never\""),
        whole.replace("\"revoked_at\": null", "\"revoked_at\": null, \"revoked_at\": null"),
        whole.replace(row, &format!("{row}, {row}")),
        whole.replace(row, &format!("{row}, {}", row.replace(&entry.id, "another"))),
        format!("{whole}{whole}"),
        " ".repeat(5 << 20),
    ]);
    for text in damaged {
        std::fs::write(&path, &text).unwrap();
        let error = keys.refresh().unwrap_err().to_string();
        assert!(error.contains("api-keys.json"), "{error}");
        assert_eq!(keys.verify(&key), None, "{text}");
        assert!(ApiKeys::open(data.path()).is_err());
        assert!(api::create(data.path(), "eve".parse().unwrap(), Role::Admin, None, NOW).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "what was found is not written over");
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(keys.refresh().unwrap());
    assert!(keys.verify(&key).is_some());
    std::fs::remove_file(&path).unwrap();
    assert!(keys.refresh().unwrap());
    assert_eq!(keys.verify(&key), None);
    assert!(!keys.refresh().unwrap(), "still not there");
}

#[test]
fn what_others_may_read_or_replace_is_not_used() {
    let data = tempfile::tempdir().unwrap();
    let (_, key) = made(data.path(), "alice", Role::Admin);
    let path = data.path().join("keys/api-keys.json");
    let keys = ApiKeys::open(data.path()).unwrap();
    set_mode(&path, 0o640);
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, text).unwrap();
    let error = keys.refresh().unwrap_err();
    assert!(error.to_string().contains("is open to others (mode 640): chmod 600 "), "{error}");
    assert_eq!(keys.verify(&key), None);
    set_mode(&path, 0o600);
    keys.refresh().unwrap();
    assert!(keys.verify(&key).is_some());
    set_mode(&data.path().join("keys"), 0o770);
    let error = api::create(data.path(), "bob".parse().unwrap(), Role::Admin, None, NOW).unwrap_err();
    assert!(error.to_string().contains("(mode 770): chmod 700 "), "{error}");
}

#[test]
fn writers_at_once_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let made_by = |name: &str| {
        let name = name.to_owned();
        let data = data.path().to_owned();
        std::thread::spawn(move || (0..10).map(|_| made(&data, &name, Role::Engine).1).collect::<Vec<_>>())
    };
    let threads = ["a", "b", "c", "d"].map(made_by);
    let texts: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let keys = ApiKeys::open(data.path()).unwrap();
    assert_eq!(texts.iter().filter(|text| keys.verify(text).is_some()).count(), 40);
}

#[test]
fn a_draft_left_by_a_writer_that_was_stopped_is_nobodys_key() {
    let data = tempfile::tempdir().unwrap();
    let (_, key) = made(data.path(), "alice", Role::Admin);
    std::fs::write(data.path().join("keys/api-keys.json.new"), "{\"version\":1,").unwrap();
    assert!(ApiKeys::open(data.path()).unwrap().verify(&key).is_some());
    let (_, second) = made(data.path(), "bob", Role::Viewer);
    assert!(ApiKeys::open(data.path()).unwrap().verify(&second).is_some());
    assert!(!data.path().join("keys/api-keys.json.new").exists());
}

#[test]
fn a_certificate_opens_its_own_key_only() {
    let data = tempfile::tempdir().unwrap();
    let [mine, other] = ["engine", "other"]
        .map(|name| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap().cert.der().to_vec());
    let name: Actor = "engine".parse().unwrap();
    let (entry, key) = api::create(data.path(), name.clone(), Role::Engine, Some(&mine), NOW).unwrap();
    assert!(key.is_none());
    assert!(matches!(entry.credential, Credential::CertificateSha256(_)));
    let keys = ApiKeys::open(data.path()).unwrap();
    assert_eq!(keys.verify_certificate(&mine).unwrap().key_id, entry.id);
    for wrong in [&other[..], &mine[1..], b""] {
        assert_eq!(keys.verify_certificate(wrong), None);
    }
    // The fingerprint is no secret, so it must not open the key either.
    assert_eq!(keys.verify(&format!("ephor_{}_", entry.id)), None);
    let taken = api::create(data.path(), name.clone(), Role::Admin, Some(&mine), NOW).unwrap_err();
    assert!(matches!(taken, KeysError::CertificateTaken { id } if id == entry.id));
    api::revoke(data.path(), &entry.id, NOW).unwrap();
    keys.refresh().unwrap();
    assert_eq!(keys.verify_certificate(&mine), None);
    let (again, _) = api::create(data.path(), name, Role::Viewer, Some(&mine), NOW).unwrap();
    keys.refresh().unwrap();
    assert_eq!(
        keys.verify_certificate(&mine).map(|caller| (caller.key_id, caller.role)),
        Some((again.id, Role::Viewer))
    );
}

#[test]
fn a_fingerprint_is_the_sha_256_of_the_certificate() {
    let data = tempfile::tempdir().unwrap();
    let (entry, _) = api::create(data.path(), "x".parse().unwrap(), Role::Engine, Some(b"abc"), NOW).unwrap();
    let Credential::CertificateSha256(fingerprint) = entry.credential else { panic!("{entry:?}") };
    // FIPS 180-2, appendix B.1.
    assert_eq!(fingerprint.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn each_role_may_what_it_may() {
    let may = |role: Role| {
        [Permission::Read, Permission::Trade, Permission::Operate, Permission::Administer]
            .map(|permission| role.may(permission))
    };
    assert_eq!(may(Role::Viewer), [true, false, false, false]);
    assert_eq!(may(Role::Engine), [true, true, false, false]);
    assert_eq!(may(Role::Operator), [true, false, true, false]);
    assert_eq!(may(Role::Admin), [true, true, true, true]);
}

#[test]
fn nobody_gets_the_name_of_a_part_of_ephor() {
    let data = tempfile::tempdir().unwrap();
    for name in ["ephor", "Canary", "drift"] {
        let refused = api::create(data.path(), name.parse().unwrap(), Role::Admin, None, NOW).unwrap_err();
        assert!(matches!(refused, KeysError::NameReserved { .. }), "{refused}");
    }
    assert!(!data.path().join("keys").exists());
}
