//! Signed tokens: what checks, what does not, and what rotation leaves.

use std::path::Path;

use ct_codecs::{Base64UrlSafeNoPadding, Decoder, Encoder, Hex};
use ephor_governance::ids::{StrategyId, TokenId};
use ephor_governance::order::{Order, Side};
use ephor_governance::token::{Grant, Mismatch};
use ephor_governance::units::{Amount, Timestamp};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::version4::{PublicToken, V4};

use super::super::claims::Uncovered;
use super::super::signing::{self, ASSERTION, PublicKeys, Signer, Verifier};
use super::super::{Claims, KeysError, TokenError};
use super::{NOW, mode, set_mode};

/// The key of the test vectors 4-S-1 to 4-S-3 of the PASETO specification.
const VECTOR_SECRET: &str = "b4cbfb43df4ce210727d953e4a713307fa19bb7d9f85041438d9e11b942a3774\
                             1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2";
/// The vector 4-S-3: payload, footer, implicit assertion, token.
const VECTOR: [&str; 4] = [
    r#"{"data":"this is a signed message","exp":"2022-01-01T00:00:00+00:00"}"#,
    r#"{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}"#,
    r#"{"test-vector":"4-S-3"}"#,
    "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMDowMCswMDowMCJ9NPWciuD3d0o5eXJXG5pJy-DiVEoyPYWs1YSTwWHNJq6DZD3je5gf-0M4JR9ipdUSJbIovzmBECeaWmaqcaP0DQ.eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9",
];

fn claims() -> Claims {
    let grant = Grant {
        id: "0190-t".parse().unwrap(),
        instruments: vec!["EUR/USD".parse().unwrap(), "6E".parse().unwrap()],
        side: Some(Side::Buy),
        notional_usd_max: Some("50000.10".parse().unwrap()),
        order_id: Some("O-1".parse().unwrap()),
        uses_max: 2,
        expires_at: NOW.plus_seconds(300),
        issued_by: "alice".parse().unwrap(),
    };
    Claims::new("MEANREV".parse().unwrap(), grant, NOW, "trace-1".into())
}

fn order() -> Order {
    Order {
        id: "O-1".parse().unwrap(),
        instrument: "6E".parse().unwrap(),
        venue: None,
        side: Side::Buy,
        qty: Amount::from(10),
        price: Some(Amount::from(100)),
        notional: Some("50000.10".parse().unwrap()),
        currency: Some("USD".parse().unwrap()),
        reduce_only: false,
        leverage: None,
        position_qty: None,
        equity: None,
        open_positions: None,
        token: None,
    }
}

fn open(data: &Path) -> (Signer, Verifier) {
    let signer = Signer::open(data, NOW).unwrap();
    (signer, Verifier::open(data).unwrap())
}

fn encoded(text: impl AsRef<[u8]>) -> String {
    Base64UrlSafeNoPadding::encode_to_string(text).unwrap()
}

/// A directory whose signing key is that of the vectors.
fn of_the_vectors(data: &Path) -> AsymmetricSecretKey<V4> {
    let bytes = Hex::decode_to_vec(VECTOR_SECRET, None).unwrap();
    std::fs::create_dir(data.join("keys")).unwrap();
    let secret = format!("{{\"version\":1,\"secret\":\"k4.secret.{}\"}}", encoded(&bytes));
    std::fs::write(data.join("keys/signing.json"), secret).unwrap();
    set_mode(&data.join("keys/signing.json"), 0o600);
    let key = AsymmetricSecretKey::<V4>::from(&bytes).unwrap();
    let id = signing::signing_id(data).unwrap().unwrap();
    let public = format!(
        r#"{{"version":1,"purpose":"v4.public","implicit_assertion":"{ASSERTION}","keys":
            [{{"id":"{id}","key":"k4.public.{}","created_at":"{NOW}","retired_at":null}}]}}"#,
        encoded(&bytes[32..]),
    );
    std::fs::write(data.join("keys/public.json"), public).unwrap();
    key
}

#[test]
fn the_vectors_of_the_specification_hold() {
    let data = tempfile::tempdir().unwrap();
    let key = of_the_vectors(data.path());
    let [payload, footer, assertion, token] = VECTOR;
    let signed =
        PublicToken::sign(&key, payload.as_bytes(), Some(footer.as_bytes()), Some(assertion.as_bytes())).unwrap();
    assert_eq!(signed, token);
    // PASERK k4.pid-2.
    let bytes = Hex::decode_to_vec("707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f", None).unwrap();
    let id = signing::id_of(&AsymmetricPublicKey::<V4>::from(&bytes).unwrap());
    assert_eq!(id, "k4.pid.9ShR3xc8-qVJ_di0tc9nx0IDIqbatdeM2mqLFBJsKRHs");
}

#[test]
fn what_is_signed_checks_and_says_the_same() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let whole = claims();
    let mut free = claims();
    free.grant.instruments.clear();
    free.grant.side = None;
    free.grant.notional_usd_max = None;
    free.grant.order_id = None;
    for claims in [whole, free] {
        let token = signer.sign(&claims).unwrap();
        assert_eq!(verifier.verify(&token, NOW), Ok(claims));
    }
    assert_eq!(mode(&data.path().join("keys/signing.json")), 0o600);
    assert_eq!(mode(&data.path().join("keys/public.json")), 0o644);
}

#[test]
fn the_text_of_a_token_is_the_same_for_ever() {
    let data = tempfile::tempdir().unwrap();
    of_the_vectors(data.path());
    let (signer, verifier) = open(data.path());
    let token = signer.sign(&claims()).unwrap();
    assert_eq!(token, include_str!("token.txt").trim());
    let parts: Vec<&str> = token.split('.').collect();
    let payload = Base64UrlSafeNoPadding::decode_to_vec(parts[2], None).unwrap();
    assert_eq!(
        std::str::from_utf8(&payload[..payload.len() - 64]).unwrap(),
        r#"{"jti":"0190-t","sub":"MEANREV","iss":"alice","iat":"2023-11-14T22:13:20Z","nbf":"2023-11-14T22:13:20Z","exp":"2023-11-14T22:18:20Z","instruments":["EUR/USD","6E"],"sides":["buy"],"max_notional_usd":"50000.10","order_id":"O-1","uses":2,"trace_id":"trace-1"}"#
    );
    assert!(verifier.verify(&token, NOW).is_ok());
}

#[test]
fn a_token_with_any_character_changed_or_left_out_proves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let token = signer.sign(&claims()).unwrap();
    for at in 0..token.len() {
        for other in *b"AB.-=z" {
            let mut bytes = token.clone().into_bytes();
            if bytes[at] != other {
                bytes[at] = other;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(verifier.verify(&changed, NOW).is_err(), "{changed}");
            }
        }
        let shorter = format!("{}{}", &token[..at], &token[at + 1..]);
        assert!(verifier.verify(&shorter, NOW).is_err(), "{shorter}");
        assert!(verifier.verify(&token[..at], NOW).is_err());
    }
    for more in ["A", ".", ".e30", "=", " "] {
        assert!(verifier.verify(&format!("{token}{more}"), NOW).is_err(), "{more}");
    }
}

#[test]
fn parts_of_two_good_tokens_do_not_make_a_third() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let one = signer.sign(&claims()).unwrap();
    let mut larger = claims();
    larger.grant.notional_usd_max = None;
    let two = signer.sign(&larger).unwrap();
    signing::rotate(data.path(), NOW).unwrap();
    signer.refresh().unwrap();
    verifier.refresh().unwrap();
    let three = signer.sign(&claims()).unwrap();
    let part = |token: &str, index: usize| token.split('.').nth(index).unwrap().to_owned();
    let bytes = |token: &str| Base64UrlSafeNoPadding::decode_to_vec(part(token, 2), None).unwrap();
    let (first, second) = (bytes(&one), bytes(&two));
    let mixed = [&second[..second.len() - 64], &first[first.len() - 64..]].concat();
    for token in [
        format!("v4.public.{}.{}", encoded(mixed), part(&one, 3)),
        format!("v4.public.{}.{}", part(&one, 2), part(&three, 3)),
    ] {
        assert_eq!(verifier.verify(&token, NOW), Err(TokenError::Signature), "{token}");
    }
    for good in [one, two, three] {
        assert!(verifier.verify(&good, NOW).is_ok());
    }
}

#[test]
fn what_was_signed_for_something_else_is_no_execution_token() {
    let data = tempfile::tempdir().unwrap();
    let key = of_the_vectors(data.path());
    let (signer, verifier) = open(data.path());
    let token = signer.sign(&claims()).unwrap();
    let payload = Base64UrlSafeNoPadding::decode_to_vec(token.split('.').nth(2).unwrap(), None).unwrap();
    let payload = &payload[..payload.len() - 64];
    let footer = Base64UrlSafeNoPadding::decode_to_vec(token.split('.').nth(3).unwrap(), None).unwrap();
    let sealed = |payload: &[u8], footer: &[u8], assertion: &str| {
        PublicToken::sign(&key, payload, Some(footer), Some(assertion.as_bytes())).unwrap()
    };
    assert_eq!(sealed(payload, &footer, ASSERTION), token);
    for assertion in ["", "ephor execution token v2", VECTOR[2]] {
        assert_eq!(verifier.verify(&sealed(payload, &footer, assertion), NOW), Err(TokenError::Signature));
    }
    // The same key and assertion, but claims that are not ours, or say nothing.
    let text = std::str::from_utf8(payload).unwrap();
    for (what, by) in [
        (r#""uses":2"#, r#""uses":0"#),
        (r#""uses":2"#, r#""uses":-1"#),
        (r#""uses":2"#, r#""uses":2,"uses":3"#),
        (r#""uses":2"#, r#""uses":2,"venue":"X""#),
        (r#""sides":["buy"]"#, r#""sides":[]"#),
        (r#""sides":["buy"]"#, r#""sides":["buy","sell"]"#),
        (r#"["EUR/USD","6E"]"#, "[]"),
        (r#""50000.10""#, "50000.10"),
        (r#""50000.10""#, r#""-1""#),
        (r#""50000.10""#, r#""NaN""#),
        (r#""exp":"2023-11-14T22:18:20Z","#, ""),
        (r#""sub":"MEANREV""#, r#""sub":"system""#),
        ("{", "["),
    ] {
        assert!(text.contains(what), "{what}");
        let token = sealed(text.replacen(what, by, 1).as_bytes(), &footer, ASSERTION);
        let refused = verifier.verify(&token, NOW).unwrap_err();
        assert!(matches!(refused, TokenError::Malformed { .. }), "{by}: {refused}");
    }
    for footer in ["", "{}", "kid", r#"{"kid":1}"#, r#"{"kid":"a","wpk":"b"}"#] {
        let refused = verifier.verify(&sealed(payload, footer.as_bytes(), ASSERTION), NOW).unwrap_err();
        assert!(matches!(refused, TokenError::Malformed { .. }), "{footer}: {refused}");
    }
    let unknown = verifier.verify(VECTOR[3], NOW).unwrap_err();
    assert_eq!(unknown.to_string().split_once(", which").unwrap().1, " is none of the public keys");
    for foreign in [
        String::new(),
        "v4.public.".to_owned(),
        token.replacen("public", "local", 1),
        token.replacen("v4", "v3", 1),
        "x".repeat(1 << 20),
    ] {
        assert!(matches!(verifier.verify(&foreign, NOW), Err(TokenError::Malformed { .. })));
    }
}

#[test]
fn a_token_is_good_from_its_first_moment_up_to_its_last() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let token = signer.sign(&claims()).unwrap();
    let at = |nanos: i64| verifier.verify(&token, Timestamp::from_nanos(NOW.nanos() + nanos));
    let life = 300 * 1_000_000_000;
    assert_eq!(at(-1), Err(TokenError::NotYetValid { from: NOW }));
    assert!(at(0).is_ok() && at(life - 1).is_ok());
    assert_eq!(at(life), Err(TokenError::Expired { at: NOW.plus_seconds(300) }));
}

#[test]
fn after_a_rotation_old_tokens_still_check_and_new_ones_name_the_new_key() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let first = signing::signing_id(data.path()).unwrap().unwrap();
    let old = signer.sign(&claims()).unwrap();
    assert!(!signer.refresh().unwrap() && !verifier.refresh().unwrap());
    let later = NOW.plus_seconds(60);
    let second = signing::rotate(data.path(), later).unwrap();
    assert_eq!(signing::signing_id(data.path()).unwrap(), Some(second.id.clone()));
    // A service that looks at one file and then at the other.
    assert!(verifier.refresh().unwrap() && signer.refresh().unwrap());
    let new = signer.sign(&claims()).unwrap();
    assert_ne!(old.split('.').nth(3), new.split('.').nth(3));
    assert!(verifier.verify(&old, NOW).is_ok() && verifier.verify(&new, NOW).is_ok());
    let public = PublicKeys::read(data.path()).unwrap();
    let written: Vec<_> = public.keys.iter().map(|key| (key.id.clone(), key.retired_at)).collect();
    assert_eq!(written, [(first.clone(), Some(later)), (second.id.clone(), None)]);

    // Who was given the second key alone cannot check the first one's tokens.
    let file = data.path().join("given.json");
    std::fs::write(&file, public.clone().only(&second.id).unwrap().text().unwrap()).unwrap();
    let given = Verifier::of_file(&file).unwrap();
    assert!(given.verify(&new, NOW).is_ok());
    assert_eq!(given.verify(&old, NOW), Err(TokenError::UnknownKey { kid: first }));
    assert!(matches!(public.only("k4.pid.none"), Err(KeysError::UnknownKey { .. })));
}

#[test]
fn a_key_of_another_house_does_not_pass_under_the_id_of_ours() {
    let [ours, theirs] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (_, verifier) = open(ours.path());
    let (signer, _) = open(theirs.path());
    let token = signer.sign(&claims()).unwrap();
    assert!(matches!(verifier.verify(&token, NOW), Err(TokenError::UnknownKey { .. })));
    let id = signing::signing_id(ours.path()).unwrap().unwrap();
    let claimed = encoded(format!("{{\"kid\":\"{id}\"}}"));
    let forged = format!("{}.{claimed}", token.rsplit_once('.').unwrap().0);
    assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::Signature));
}

#[test]
fn a_rotation_that_is_cut_between_its_files_leaves_the_old_key_signing() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let first = signing::signing_id(data.path()).unwrap();
    // The secret cannot be written: its draft is a directory that is not empty.
    let draft = data.path().join("keys/signing.json.new");
    std::fs::create_dir_all(draft.join("x")).unwrap();
    assert!(matches!(signing::rotate(data.path(), NOW), Err(KeysError::File { .. })));
    let public = PublicKeys::read(data.path()).unwrap();
    assert_eq!(public.keys.len(), 2, "the new public key was on the disk before its secret");
    assert!(public.keys.iter().all(|key| key.retired_at.is_none()), "nothing else signs");
    assert_eq!(signing::signing_id(data.path()).unwrap(), first);
    signer.refresh().unwrap();
    verifier.refresh().unwrap();
    let token = signer.sign(&claims()).unwrap();
    assert!(verifier.verify(&token, NOW).is_ok());
    assert!(Signer::open(data.path(), NOW).is_ok());

    std::fs::remove_dir_all(&draft).unwrap();
    let third = signing::rotate(data.path(), NOW).unwrap();
    let public = PublicKeys::read(data.path()).unwrap();
    let in_use: Vec<_> = public.keys.iter().filter(|key| key.retired_at.is_none()).map(|key| &key.id).collect();
    assert_eq!((in_use, public.keys.len()), (vec![&third.id], 3));
}

#[test]
fn a_first_key_that_was_cut_between_its_files_is_made_again() {
    let data = tempfile::tempdir().unwrap();
    let draft = data.path().join("keys/signing.json.new");
    std::fs::create_dir_all(draft.join("x")).unwrap();
    set_mode(&data.path().join("keys"), 0o700);
    assert!(Signer::open(data.path(), NOW).is_err());
    assert_eq!(PublicKeys::read(data.path()).unwrap().keys.len(), 1);
    std::fs::remove_dir_all(&draft).unwrap();
    let (signer, verifier) = open(data.path());
    assert!(verifier.verify(&signer.sign(&claims()).unwrap(), NOW).is_ok());
    // One whose public key is not on file signs nothing: nobody could check it.
    let other = tempfile::tempdir().unwrap();
    open(other.path());
    std::fs::copy(other.path().join("keys/public.json"), data.path().join("keys/public.json")).unwrap();
    let error = Signer::open(data.path(), NOW).unwrap_err().to_string();
    assert!(error.contains("which signs: `ephor keys rotate` makes another"), "{error}");
    signing::rotate(data.path(), NOW).unwrap();
    assert!(Signer::open(data.path(), NOW).is_ok());
}

#[test]
fn two_rotations_at_once_end_with_one_key_that_signs() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let old = signer.sign(&claims()).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let data = data.path().to_owned();
            std::thread::spawn(move || (0..5).for_each(|_| drop(signing::rotate(&data, NOW).unwrap())))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let public = PublicKeys::read(data.path()).unwrap();
    let in_use: Vec<_> = public.keys.iter().filter(|key| key.retired_at.is_none()).map(|key| key.id.clone()).collect();
    assert_eq!((public.keys.len(), in_use), (21, vec![signing::signing_id(data.path()).unwrap().unwrap()]));
    signer.refresh().unwrap();
    verifier.refresh().unwrap();
    assert!(verifier.verify(&signer.sign(&claims()).unwrap(), NOW).is_ok() && verifier.verify(&old, NOW).is_ok());
}

#[test]
fn with_a_damaged_file_nothing_is_signed_and_nothing_checks() {
    let data = tempfile::tempdir().unwrap();
    let (signer, verifier) = open(data.path());
    let token = signer.sign(&claims()).unwrap();
    let [secret, public] = ["signing.json", "public.json"].map(|name| data.path().join("keys").join(name));
    let [good_secret, good_public] = [&secret, &public].map(|path| std::fs::read_to_string(path).unwrap());
    let hidden = good_secret.split("k4.secret.").nth(1).unwrap().split('"').next().unwrap();
    let zeros = good_secret.replace(hidden, &"A".repeat(hidden.len()));
    let flipped = good_secret.replace(hidden, &format!("{}{}", &hidden[1..], &hidden[..1]));
    let misplaced = good_secret.replace("\"version\": 1", &format!("\"version\": \"k4.secret.{hidden}\""));
    let other = good_secret.replace("\"version\": 1", "\"version\": 2");
    let cut = good_secret[..good_secret.len() / 2].to_owned();
    for text in ["", "{}", &zeros, &flipped, &misplaced, &other, &cut] {
        std::fs::write(&secret, text).unwrap();
        let error = signer.refresh().unwrap_err().to_string();
        assert!(error.contains("signing.json: ") && !error.contains(hidden), "{error}");
        assert!(signer.sign(&claims()).is_err(), "{text}");
        assert!(Signer::open(data.path(), NOW).is_err());
    }
    assert!(!format!("{signer:?} {verifier:?}").contains(hidden));
    std::fs::write(&secret, &good_secret).unwrap();
    assert!(signer.refresh().unwrap() && signer.sign(&claims()).is_ok());
    assert!(!format!("{signer:?}").contains(hidden));
    set_mode(&secret, 0o644);
    assert!(matches!(Signer::open(data.path(), NOW), Err(KeysError::Exposed { .. })));
    set_mode(&secret, 0o600);

    for text in [
        String::new(),
        good_public.replace("v4.public", "v4.local"),
        good_public.replace(ASSERTION, ""),
        good_public.replace("k4.pid.", "k4.pid.A"),
        good_public.replace("\"retired_at\"", "\"trusted\": true, \"retired_at\""),
        good_public.replace("k4.public.", "k4.public.AA"),
    ] {
        std::fs::write(&public, &text).unwrap();
        assert!(verifier.refresh().is_err(), "{text}");
        assert_eq!(verifier.verify(&token, NOW), Err(TokenError::NoKeys));
        assert!(Signer::open(data.path(), NOW).is_err(), "nobody could check what it signs");
    }
    std::fs::remove_file(&public).unwrap();
    assert!(matches!(verifier.refresh(), Err(KeysError::Missing { .. })));
    std::fs::write(&public, &good_public).unwrap();
    assert!(verifier.refresh().unwrap());
    assert!(verifier.verify(&token, NOW).is_ok());
}

#[test]
fn an_order_is_covered_where_the_gate_would_say_so_and_its_value_is_known() {
    let claims = claims();
    let strategy: StrategyId = "MEANREV".parse().unwrap();
    let uncovered = |change: fn(&mut Order)| {
        let mut order = order();
        change(&mut order);
        claims.uncovered(&strategy, &order)
    };
    assert_eq!(uncovered(|_| {}), None);
    let grant = |part| Some(Uncovered::Grant(part));
    assert_eq!(uncovered(|order| order.instrument = "6B".parse().unwrap()), grant(Mismatch::Instrument));
    assert_eq!(uncovered(|order| order.side = Side::Sell), grant(Mismatch::Side));
    assert_eq!(uncovered(|order| order.id = "O-2".parse().unwrap()), grant(Mismatch::Order));
    assert_eq!(uncovered(|order| order.notional = Some("50000.11".parse().unwrap())), grant(Mismatch::Notional));
    assert_eq!(uncovered(|order| order.qty = Amount::from(501)), grant(Mismatch::Notional));
    // Quantity x price knows no multiplier.
    assert_eq!(uncovered(|order| order.notional = None), grant(Mismatch::Notional));
    assert_eq!(uncovered(|order| order.currency = None), grant(Mismatch::Notional));
    assert_eq!(uncovered(|order| order.currency = Some("EUR".parse().unwrap())), grant(Mismatch::Notional));
    assert_eq!(claims.uncovered(&"OTHER".parse().unwrap(), &order()), Some(Uncovered::Strategy));
    assert_eq!(claims.grant.id, "0190-t".parse::<TokenId>().unwrap());
}
