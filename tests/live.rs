//! The live actors and the log: what the actors hold is what the log folds to, to the digest.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ephor::input::{Asked, Parser};
use ephor_actors::{Config, Governor, Request};
use ephor_events::{EventLog, Options};
use ephor_replay::fold::{Plan, digest_of_strategy, fold_with};
use futures::StreamExt;
use futures::stream::FuturesOrdered;

#[tokio::test]
async fn a_replay_ends_with_the_digests_of_the_live_actors() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap();
    let (governor, threads) = Governor::start(log, &Config { shards: 2, ..Config::default() }).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo.jsonl");
    let mut parser = Parser::new(ephor::store::now);
    let mut under_way = FuturesOrdered::new();
    for line in BufReader::new(std::fs::File::open(demo).unwrap()).lines() {
        let Some(entry) = parser.line(line.unwrap().as_bytes()).unwrap() else { continue };
        if under_way.is_empty() {
            governor.begin(entry.ts).await.unwrap();
        }
        match entry.asked {
            Asked::Strategy(request) => under_way.push_back(governor.ask(Request { at: entry.ts, ..*request })),
            Asked::Account(_) => unreachable!("the demonstration has no account"),
        }
        if under_way.len() > 256 {
            under_way.next().await.unwrap().unwrap();
        }
    }
    while let Some(answered) = under_way.next().await {
        answered.unwrap();
    }
    let live: BTreeMap<String, _> = governor
        .inspect()
        .await
        .into_iter()
        .map(|(id, live)| (id.to_string(), (live.version, digest_of_strategy(&id, &live.state).unwrap())))
        .collect();
    assert_eq!(live.len(), 7);
    for threads in [1, 2] {
        let folded = fold_with(governor.reader(), &Plan { threads, ..Plan::default() }, &mut |_| {}).unwrap();
        let folded: BTreeMap<String, _> = folded
            .strategies
            .iter()
            .map(|strategy| (strategy.stream.as_str().to_owned(), (strategy.version, strategy.digest)))
            .collect();
        assert_eq!(folded, live, "{threads} threads");
    }
    governor.shutdown(threads).await.unwrap();
}
