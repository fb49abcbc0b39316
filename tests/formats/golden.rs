//! Golden messages: what each must come to, said in Ephor's own JSON.

use ephor::input::Code;
use ephor_governance::strategy::Command;

use super::{command, own, read, reading};

pub(super) const CCXT: &str = r#"{"info":{"c":"MEANREV-17"},"id":"12345-67890:09876/54321","timestamp":1502962946216,
    "datetime":"2017-08-17T12:42:48.000Z","symbol":"ETH/BTC","order":"12345-67890:09876/54321","type":"limit",
    "side":"buy","takerOrMaker":"taker","price":0.06917684,"amount":1.5,"cost":0.10376526,
    "fee":{"cost":0.0015,"currency":"ETH","rate":0.002}}"#;

pub(super) const ALPACA: &str = r#"{"stream":"trade_updates","data":{"event":"partial_fill",
    "execution_id":"11ff9f3b-8ee4-4c7d-a5ac-1f0e0e2f4d71","timestamp":"2026-11-20T14:30:01.123456789Z","price":"179.08",
    "qty":"40","position_qty":"40","order":{"id":"fb8a2a9b-6a9b-4b8a-9a2a-0d7d1f5b7c11",
    "client_order_id":"MEANREV-0001","symbol":"AAPL","side":"sell_short","qty":"100","filled_qty":"40",
    "filled_avg_price":"179.08","order_type":"limit","status":"partially_filled"}}}"#;

pub(super) const EXIT_FILL: &str = r#"{"type":"exit_fill","trade_id":7,"strategy":"SampleStrategy","exchange":"Binance",
    "pair":"ETH/BTC","leverage":1.0,"direction":"Long","gain":"profit","limit":0.08786108,"order_rate":0.08786108,
    "order_type":"limit","amount":2.28064986,"open_rate":0.08681736,"close_rate":0.08786108,"current_rate":0.08786108,
    "profit_amount":0.00198198,"profit_ratio":0.01,"buy_tag":"","enter_tag":"","exit_reason":"roi",
    "open_date":"2018-01-10 22:30:00+00:00","close_date":"2018-01-11 00:20:00+00:00","stake_amount":0.198,
    "stake_currency":"BTC","base_currency":"ETH","quote_currency":"BTC","fiat_currency":"USD","sub_trade":false,
    "cumulative_profit":0.00198198,"is_final_exit":true}"#;

pub(super) const ENTRY_FILL: &str = r#"{"type":"entry_fill","trade_id":7,"strategy":"SampleStrategy","pair":"ETH/BTC",
    "direction":"Short","open_rate":0.08681736,"amount":2.28064986,"open_date":"2018-01-10 22:30:00+00:00",
    "stake_currency":"BTC","sub_trade":false}"#;

pub(super) const REST: &str = r#"{"trade_id":7,"pair":"ETH/BTC","base_currency":"ETH","quote_currency":"BTC",
    "is_open":false,"is_short":true,"exchange":"binance","amount":2.28064986,"strategy":"SampleStrategy",
    "open_date":"2018-01-10 22:30:00","open_timestamp":1515623400000,"open_rate":0.08681736,
    "close_date":"2018-01-11 00:20:00","close_timestamp":1515630000000,"close_rate":0.08786108,
    "close_profit_abs":-0.00198198,"profit_abs":-0.00198198,"realized_profit":-0.00198198}"#;

pub(super) const CLOUD: &str = r#"{"specversion":"1.0","id":"e-1","source":"/engines/one","type":"ephor.trade_closed",
    "time":"2020-01-01T00:00:00Z","datacontenttype":"application/json","data":{"type":"trade_closed","id":"t1",
    "ts":"2020-01-01T00:00:00Z","strategy_id":"a","instrument":"X","side":"LONG","qty":"1","entry_price":"2","price":"3",
    "realized_pnl":"1","opened_at":"2019-12-31T00:00:00Z","closed_at":"2020-01-01T00:00:00Z"}}"#;

/// A FIX message out of its fields, with length and checksum.
pub(super) fn fix(version: &str, fields: &str, delimiter: char) -> Vec<u8> {
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let body = (fields.join("\u{1}") + "\u{1}").replace('_', " ");
    let head = format!("8={version}\u{1}9={}\u{1}{body}", body.len());
    let sum = head.bytes().fold(0_u8, u8::wrapping_add);
    format!("{head}10={sum:03}\u{1}").replace('\u{1}', &delimiter.to_string()).into_bytes()
}

pub(super) const FIX: &str = "35=8 34=17 49=BROKER 52=20261120-14:30:01.200 56=US 6=179.08 11=MEANREV-0001 14=40 \
    17=E-77 31=179.080 32=40 37=B-1 38=100 39=1 54=5 55=AAPL 60=20261120-14:30:01.123 150=F 151=60 1=ACC-9 12=0.01 \
    13=1 479=USD 207=XNAS 453=1 448=TRADER 447=D 452=12 847=1001";

#[track_caller]
fn says(settings: &str, payload: &[u8], line: &str) {
    assert_eq!(read(&mut reading(settings), "topic", payload).unwrap().entries, [own(line)]);
}

#[test]
fn a_ccxt_trade_is_a_fill_and_a_fee_in_the_base_is_taken_off_what_was_bought() {
    let settings = r#"
        format = "ccxt"
        netting = "average"
        rules = [{ client_order_id = "^(?<strategy>[A-Z]+)-" }]"#;
    let line = r#"{"type":"fill","id":"ETH/BTC:12345-67890:09876/54321","ts":"2017-08-17T09:42:26.216Z",
        "strategy_id":"MEANREV","instrument":"ETH/BTC","order_id":"12345-67890:09876/54321","side":"BUY",
        "qty":"1.4985","price":"0.06917684","currency":"BTC","fee":"0.0015","fee_currency":"ETH",
        "fee_rate":"0.06917684","netting":"average"}"#;
    says(settings, CCXT.as_bytes(), line);
    let two = format!("[{CCXT},{}]", CCXT.replace("12345-67890:09876/54321\",\"timestamp", "2\",\"timestamp"));
    assert_eq!(read(&mut reading(settings), "t", two.as_bytes()).unwrap().entries.len(), 2);
    let fees = CCXT.replace("\"fee\":{", "\"fee\":null,\"fees\":[{\"cost\":1,\"currency\":\"BNB\"},{");
    let refused = read(&mut reading(settings), "t", fees.replace("0.002}}", "0.002}]}").as_bytes()).unwrap_err();
    assert_eq!(refused.to_string(), "fees: fees in several currencies for one execution");
}

/// Of the golden trade with other words in it: side, quantity, fee and rate, and what prices are counted in.
#[track_caller]
fn ccxt(changes: &[(&str, &str)]) -> Result<String, String> {
    let text = changes.iter().fold(CCXT.to_owned(), |text, (from, to)| text.replace(from, to));
    let told = read(&mut reading("format = \"ccxt\"\nstrategy = \"A\""), "t", text.as_bytes());
    let told = told.map_err(|refusal| refusal.to_string())?;
    let Command::RecordFill { fill, currency, .. } = command(&told.entries[0]).1 else { panic!("{told:?}") };
    let fee = fill.fee.as_ref().map(|fee| {
        let rate = fee.rate.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
        format!("{} {} at {rate}", fee.amount, fee.currency.as_ref().unwrap())
    });
    Ok(format!("{:?} {} fee {}, in {}", fill.side, fill.qty, fee.unwrap_or_default(), currency.as_ref().unwrap()))
}

#[test]
fn a_ccxt_position_moves_by_what_was_received_or_given_and_results_are_in_the_quote_currency() {
    let said = |changes: &[(&str, &str)]| ccxt(changes).unwrap();
    let (sale, rebate) = (("\"buy\"", "\"sell\""), ("0.0015,\"currency", "-0.0015,\"currency"));
    assert_eq!(said(&[sale]), "Sell 1.5015 fee 0.0015 ETH at 0.06917684, in BTC");
    assert_eq!(said(&[rebate]), "Buy 1.5015 fee -0.0015 ETH at 0.06917684, in BTC");
    let paid_in = |coin: &'static str| ("\"ETH\",\"rate\"", coin);
    // In the quote currency nothing is to be converted, in a third one nobody knows a rate.
    assert_eq!(said(&[paid_in("\"BTC\",\"rate\"")]), "Buy 1.5 fee 0.0015 BTC at none, in BTC");
    assert_eq!(said(&[paid_in("\"BNB\",\"rate\"")]), "Buy 1.5 fee 0.0015 BNB at none, in BTC");
    // Contracts are not what the fee is paid out of.
    for symbol in ["ETH/BTC:BTC", "ETH/BTC:BTC-260925", "ETH/BTC:BTC-260925-60000-C"] {
        assert_eq!(said(&[("ETH/BTC", symbol)]), "Buy 1.5 fee 0.0015 ETH at 0.06917684, in BTC", "{symbol}");
    }
}

#[test]
fn a_ccxt_trade_whose_result_cannot_be_told_is_refused() {
    let problem = |changes: &[(&str, &str)]| ccxt(changes).unwrap_err();
    assert_eq!(
        problem(&[("ETH/BTC", "ETH/BTC:ETH")]),
        "symbol: ETH/BTC:ETH is settled in ETH and quoted in BTC: what it gains is not quantity x price"
    );
    assert_eq!(problem(&[("ETH/BTC", "ETHBTC")]), "symbol: expected BASE/QUOTE, found ETHBTC");
    assert_eq!(
        problem(&[("\"cost\":0.0015", "\"cost\":1.5")]),
        "fee: 1.5 of the base currency leaves nothing of the amount 1.5"
    );
    assert_eq!(
        problem(&[("\"currency\":\"ETH\"", "\"currency\":null")]),
        "fee: it does not say what its cost is counted in"
    );
}

#[test]
fn an_alpaca_update_is_a_fill_or_the_end_of_an_order() {
    let settings = "format = \"alpaca\"\nstrategy = \"MEANREV\"";
    let line = r#"{"type":"fill","id":"11ff9f3b-8ee4-4c7d-a5ac-1f0e0e2f4d71","ts":"2026-11-20T14:30:01.123456789Z",
        "strategy_id":"MEANREV","instrument":"AAPL","order_id":"fb8a2a9b-6a9b-4b8a-9a2a-0d7d1f5b7c11","side":"SELL",
        "qty":"40","price":"179.08"}"#;
    says(settings, ALPACA.as_bytes(), line);
    let canceled = ALPACA.replace("partial_fill", "canceled");
    let line = r#"{"type":"order","id":"fb8a2a9b-6a9b-4b8a-9a2a-0d7d1f5b7c11:canceled","status":"canceled",
        "ts":"2026-11-20T14:30:01.123456789Z","strategy_id":"MEANREV","instrument":"AAPL","side":"SELL",
        "order_id":"fb8a2a9b-6a9b-4b8a-9a2a-0d7d1f5b7c11","position_qty":"40"}"#;
    says(settings, canceled.as_bytes(), line);
    let nothing = read(&mut reading(settings), "t", ALPACA.replace("partial_fill", "pending_new").as_bytes());
    assert!(nothing.unwrap().entries.is_empty());
    let busted = read(&mut reading(settings), "t", ALPACA.replace("partial_fill", "trade_bust").as_bytes());
    assert_eq!(busted.unwrap_err().field, Some("event"));
}

#[test]
fn a_fix_execution_report_is_a_fill_or_the_end_of_an_order() {
    let settings = r#"
        format = "fix"
        rules = [{ field = "847", pattern = "^1001$", strategy = "MEANREV" }]"#;
    let line = r#"{"type":"fill","id":"BROKER:20261120:E-77","ts":"2026-11-20T14:30:01.123Z","strategy_id":"MEANREV",
        "instrument":"AAPL.XNAS","account":"ACC-9","order_id":"MEANREV-0001","side":"SELL","qty":"40","price":"179.080",
        "fee":"0.40","fee_currency":"USD"}"#;
    says(settings, &fix("FIX.4.4", FIX, '\u{1}'), line);
    says(settings, &fix("FIX.4.4", FIX, '|'), line);
    let logged = [&b"20261120-14:30:01.300 : "[..], &fix("FIXT.1.1", FIX, '|')].concat();
    says(settings, &logged, line);
    says(settings, &fix("FIX.4.2", &FIX.replace("150=F", "20=0 150=1"), '\u{1}'), line);
    let rejected = FIX.replace("150=F", "150=8 58=not_today");
    let line = r#"{"type":"order","id":"BROKER:20261120:E-77","ts":"2026-11-20T14:30:01.123Z","strategy_id":"MEANREV",
        "instrument":"AAPL.XNAS","order_id":"MEANREV-0001","status":"rejected","side":"SELL","reason":"not today"}"#;
    says(settings, &fix("FIX.4.4", &rejected, '\u{1}'), line);
    for nothing in [FIX.replace("150=F", "150=0"), FIX.replace("35=8", "35=0"), FIX.replace("150=F", "150=F 20=3")] {
        assert!(read(&mut reading(settings), "t", &fix("FIX.4.4", &nothing, '\u{1}')).unwrap().entries.is_empty());
    }
}

#[test]
fn what_an_execution_is_counted_in_is_the_second_of_a_pair_else_what_the_message_says() {
    let counted = |format: &str, payload: &[u8]| {
        let told = read(&mut reading(&format!("format = \"{format}\"\nstrategy = \"A\"")), "t", payload).unwrap();
        let Command::RecordFill { currency, .. } = command(&told.entries[0]).1 else { panic!("{told:?}") };
        currency.as_ref().map(|currency| currency.as_str().to_owned())
    };
    let of_fix = |from: &str, to: &str| counted("fix", &fix("FIX.4.4", &FIX.replace(from, to), '\u{1}'));
    assert_eq!(of_fix("54=5", "54=5"), None);
    assert_eq!(of_fix("54=5", "54=5 15=EUR").as_deref(), Some("EUR"));
    // The dealt currency of a pair; a class of shares is none.
    assert_eq!(of_fix("55=AAPL", "55=EUR/USD 15=EUR").as_deref(), Some("USD"));
    assert_eq!(of_fix("55=AAPL", "55=BRK/B"), None);
    assert_eq!(counted("alpaca", ALPACA.as_bytes()), None);
    assert_eq!(counted("alpaca", ALPACA.replace("AAPL", "ETH/BTC").as_bytes()).as_deref(), Some("BTC"));
}

#[test]
fn a_fix_message_that_is_not_whole_or_undoes_another_is_refused_by_name() {
    let refused = |bytes: &[u8]| {
        let refusal = read(&mut reading("format = \"fix\""), "t", bytes).unwrap_err();
        (refusal.code, refusal.to_string())
    };
    let whole = fix("FIX.4.4", FIX, '\u{1}');
    let text = String::from_utf8(whole.clone()).unwrap();
    let (sum, end) = (text.find("\u{1}10=").unwrap() + 4, text.len() - 1);
    let wrong_sum = refused(text.replace("31=179.080", "31=179.081").as_bytes());
    assert!(wrong_sum.1.starts_with("CheckSum(10): says "), "{wrong_sum:?}");
    for not_a_sum in ["abc", "1", "0256", ""] {
        let changed = format!("{}{not_a_sum}{}", &text[..sum], &text[end..]);
        assert!(refused(changed.as_bytes()).1.starts_with("CheckSum(10): says "), "{not_a_sum}");
    }
    let long = refused(text.replace("\u{1}55=AAPL", "\u{1}55=AAPLE").as_bytes());
    assert!(long.1.starts_with("BodyLength(9): says "), "{long:?}");
    let endless = text.replacen(&text[10..text.find("\u{1}35=").unwrap()], "9=99999999999999999999", 1);
    assert_eq!(refused(endless.as_bytes()).1, "BodyLength(9): must be the second field, a number");
    assert_eq!(refused(b"35=8|55=X|10=000|").0, Code::LineNotFix);
    for (fields, said) in [
        (FIX.replace("150=F", "150=H"), "ExecType(150): undoes an execution"),
        (FIX.replace("150=F", "150=F 20=1"), "ExecTransType(20): undoes an execution"),
        (FIX.replace("150=F", "150=F 32=41"), "LastQty(32): stands there twice"),
        (FIX.replace("54=5", "54=9"), "Side(54): expected 1 to 6, found \"9\""),
        (FIX.replace("13=1", "13=2"), "CommType(13): expected 1 (for each unit) or 3 (in all), found \"2\""),
        (FIX.replace("60=20261120-14:30:01.123", "60=20261120"), "TransactTime(60): not a time"),
        (FIX.replace("31=179.080", "31=1e2"), "LastPx(31): expected a decimal number, found 1e2"),
        (FIX.replace("17=E-77 ", ""), "ExecID(17): missing"),
    ] {
        let found = refused(&fix("FIX.4.4", &fields, '\u{1}'));
        assert!(found.1.starts_with(said), "{said}: {found:?}");
    }
}

#[test]
fn a_freqtrade_exit_is_a_round_trip_and_an_entry_a_report() {
    let settings = "format = \"freqtrade\"";
    let line = r#"{"type":"trade_closed","id":"7:ETH/BTC:2018-01-10 22:30:00+00:00:2018-01-11T00:20:00Z",
        "ts":"2018-01-11T00:20:00Z","strategy_id":"SampleStrategy","instrument":"ETH/BTC","side":"LONG","qty":"2.28064986",
        "entry_price":"0.08681736","price":"0.08786108","realized_pnl":"0.00198198","currency":"BTC",
        "opened_at":"2018-01-10T22:30:00Z","closed_at":"2018-01-11T00:20:00Z"}"#;
    // What was entered goes down again.
    let sold = r#"{"type":"order","id":"7:ETH/BTC:2018-01-10 22:30:00+00:00:2018-01-11T00:20:00Z","status":"filled",
        "ts":"2018-01-11T00:20:00Z","strategy_id":"SampleStrategy","instrument":"ETH/BTC","side":"SELL",
        "qty":"2.28064986","price":"0.08786108"}"#;
    let inner = EXIT_FILL.replacen("\"type\":\"exit_fill\",", "", 1);
    for payload in [EXIT_FILL.to_owned(), format!("{{\"type\":\"exit_fill\",\"data\":{inner}}}")] {
        let read = read(&mut reading(settings), "topic", payload.as_bytes()).unwrap();
        assert_eq!(read.entries, [own(line), own(sold)]);
    }
    let line = r#"{"type":"trade_closed","id":"7:ETH/BTC:1515623400000","ts":"2018-01-11T00:20:00Z",
        "strategy_id":"SampleStrategy","instrument":"ETH/BTC","side":"SHORT","qty":"2.28064986",
        "entry_price":"0.08681736","price":"0.08786108","realized_pnl":"-0.00198198","currency":"BTC",
        "opened_at":"2018-01-10T22:30:00Z","closed_at":"2018-01-11T00:20:00Z"}"#;
    says(settings, REST.as_bytes(), line);
    let line = r#"{"type":"order","id":"7:ETH/BTC:2018-01-10 22:30:00+00:00:2.28064986:0.08681736","status":"filled",
        "ts":"2018-01-10T22:30:00Z","strategy_id":"SampleStrategy","instrument":"ETH/BTC","side":"SELL",
        "qty":"2.28064986","price":"0.08681736"}"#;
    says(settings, ENTRY_FILL.as_bytes(), line);
    let open = REST.replace("\"is_open\":false", "\"is_open\":true");
    assert!(read(&mut reading(settings), "t", open.as_bytes()).unwrap().entries.is_empty());
}

#[test]
fn an_event_in_its_envelope_says_what_it_says_without() {
    let settings = "format = \"cloudevents\"";
    let data = CLOUD[CLOUD.find("\"data\":").unwrap() + 7..CLOUD.len() - 1].to_owned();
    says(settings, CLOUD.as_bytes(), &data);
    let headers: Vec<_> = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e-1"),
        ("ce-source", "/engines/one"),
        ("ce-type", "ephor.trade_closed"),
        ("ce-time", "2020-01-01T00:00:00Z"),
        ("content-type", "application/json; charset=utf-8"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    for prefix in ["ce-", "ce_", "cloudEvents:", "Ce-"] {
        let headers: Vec<(smol_str::SmolStr, _)> = headers
            .iter()
            .map(|(name, value): &(smol_str::SmolStr, smol_str::SmolStr)| {
                (name.replace("ce-", prefix).into(), value.clone())
            })
            .collect();
        let message = ephor::formats::Message { subject: "s", headers: &headers, payload: data.as_bytes() };
        assert_eq!(reading(settings).read(&message).unwrap().entries, [own(&data)], "{prefix}");
    }
    for (from, to, field) in [
        ("\"specversion\":\"1.0\"", "\"specversion\":\"0.3\"", "specversion"),
        ("\"id\":\"e-1\",", "", "id"),
        ("\"source\":\"/engines/one\"", "\"source\":\"\"", "source"),
        ("ephor.trade_closed", "ephor.order", "type"),
        ("\"time\":\"2020-01-01T00:00:00Z\"", "\"time\":\"noon\"", "time"),
        ("application/json", "text/csv", "datacontenttype"),
        ("\"data\":{", "\"dada\":{", "data"),
    ] {
        let refused = read(&mut reading(settings), "t", CLOUD.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert_eq!(refused.field, Some(field), "{refused}");
    }
}

#[test]
fn what_belongs_to_nobody_is_kept_whole_and_can_be_given_in_again() {
    for (settings, payload) in [
        ("format = \"ccxt\"", CCXT.as_bytes().to_vec()),
        ("format = \"alpaca\"", ALPACA.as_bytes().to_vec()),
        ("format = \"fix\"", fix("FIX.4.4", FIX, '\u{1}')),
        ("format = \"freqtrade\"", REST.replace("\"strategy\"", "\"other\"").into_bytes()),
    ] {
        let nobodys = read(&mut reading(settings), "t", &payload).unwrap().entries;
        let (strategy, kept) = command(&nobodys[0]);
        let Command::RecordUnattributed(kept) = kept else { panic!("{kept:?}") };
        assert_eq!(strategy, "UNATTRIBUTED");
        assert!(settings.contains(kept.source.as_str()), "{kept:?}");
        assert!(kept.reason.starts_with("none of 0 rules matches: client order id "), "{kept:?}");
        let line = kept.content.replacen('{', "{\"strategy_id\":\"FOUND\",", 1);
        let owned = read(&mut reading(&format!("{settings}\nstrategy = \"FOUND\"")), "t", &payload).unwrap().entries;
        assert_eq!([own(&line)], owned.as_slice());
    }
}
