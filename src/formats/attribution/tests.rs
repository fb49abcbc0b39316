//! Rules against facts: first match wins, and what none matches is nobody's.

use ephor_governance::order::{OrderReport, OrderStatus};
use ephor_governance::units::Timestamp;

use super::*;
use crate::formats::fact::What;
use crate::input::Fields;

fn fact(order: Option<&str>, account: Option<&str>, owner: Option<&str>) -> Fact {
    let report = OrderReport {
        id: "1".parse().unwrap(),
        instrument: "X".parse().unwrap(),
        order_id: None,
        status: OrderStatus::Canceled,
        side: None,
        qty: None,
        price: None,
        position_qty: None,
        equity: None,
        commission: None,
        reason: None,
    };
    Fact {
        at: Timestamp::default(),
        what: What::Order(report),
        owner: owner.map(|name| name.parse().unwrap()),
        client_order_id: order.map(Into::into),
        account: account.map(Into::into),
    }
}

#[track_caller]
fn whose(settings: &str, fact: &Fact, message: &str) -> Result<String, String> {
    let settings: settings::Reading = toml::from_str(settings).unwrap();
    let fields = Fields::of(message).unwrap();
    Attribution::new(&settings).whose(fact, &fields).map(|found| found.to_string())
}

const RULES: &str = r#"
    [[rules]]
    field = "bot.name"
    pattern = "^bot-(?<strategy>.+)$"
    [[rules]]
    client_order_id = "^(?<strategy>[A-Z]+)-[0-9]+$"
    [[rules]]
    client_order_id = "^hand"
    strategy = "BY-HAND"
    [[rules]]
    account = "DU1"
    strategy = "MEANREV"
    [[rules]]
    field = "tag"
"#;

#[test]
fn the_first_rule_that_matches_says_whose_it_is() {
    let both = fact(Some("EMAX-17"), Some("DU1"), None);
    assert_eq!(whose(RULES, &both, r#"{"bot":{"name":"bot-GRID"}}"#), Ok("GRID".to_owned()));
    assert_eq!(whose(RULES, &both, r#"{"bot":{"name":"GRID"}}"#), Ok("EMAX".to_owned()));
    assert_eq!(whose(RULES, &fact(Some("hand 3"), Some("DU1"), None), "{}"), Ok("BY-HAND".to_owned()));
    assert_eq!(whose(RULES, &fact(Some("x"), Some("DU1"), None), "{}"), Ok("MEANREV".to_owned()));
    assert_eq!(whose(RULES, &fact(None, None, None), r#"{"tag":7}"#), Ok("7".to_owned()));
}

#[test]
fn the_sources_own_word_counts_where_no_rule_matches() {
    assert_eq!(whose(RULES, &fact(None, None, Some("OWN")), "{}"), Ok("OWN".to_owned()));
    assert_eq!(whose("", &fact(None, None, Some("OWN")), "{}"), Ok("OWN".to_owned()));
    assert_eq!(whose("strategy = \"ALL\"", &fact(None, None, Some("OWN")), "{}"), Ok("ALL".to_owned()));
}

#[test]
fn what_no_rule_matches_is_nobodys_and_says_what_was_looked_at() {
    let none = whose(RULES, &fact(Some("emax-17"), Some("DU2"), None), "{}").unwrap_err();
    assert_eq!(none, "none of 5 rules matches: client order id emax-17, account DU2");
    // A name that no strategy can have is not passed on to the next rule.
    let reserved = whose(RULES, &fact(None, None, None), r#"{"bot":{"name":"bot-system"}}"#).unwrap_err();
    assert_eq!(reserved, "rule 1 found no strategy's name: \"system\" is a reserved name");
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_by_name() {
    for (rule, said) in [
        ("client_order_id = \"(\"", "the rule by client_order_id \"(\" does not compile: regex parse error"),
        ("client_order_id = \"^x\"", "the rule by client_order_id \"^x\" needs a group (?<strategy>…) or a strategy"),
        ("client_order_id = \"^(?<strategy>x)\"\nstrategy = \"A\"", "has both a group (?<strategy>…) and a strategy"),
        ("account = \"1\"", "the rule by account \"1\" needs a strategy"),
        ("field = \"a\"\nstrategy = \"A\"", "the rule by field \"a\" needs a pattern beside its strategy"),
        ("account = \"1\"\nfield = \"a\"", "a rule looks at one of field, client_order_id and account"),
        ("account = \"1\"\nstrategy = \"system\"", "\"system\" is a reserved name"),
        ("acount = \"1\"", "unknown field `acount`"),
        ("client_order_id = \"(?<strategy>a{1000}{1000})\"", "exceeds size limit"),
    ] {
        let refused = toml::from_str::<settings::Reading>(&format!("[[rules]]\n{rule}")).unwrap_err().to_string();
        assert!(refused.contains(said), "{rule}: {refused}");
    }
}

#[test]
fn a_rule_is_written_as_it_was_read() {
    let settings: settings::Reading = toml::from_str(RULES).unwrap();
    let again: settings::Reading = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
}
