//! Real ports, pages, disks and panics under a real governor.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::SystemTime;

use ephor_actors::{Config, Governor, Threads};
use ephor_events::{EventLog, Options};
use ephor_governance::units::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::blocking::Alone;
use super::clock::Reading;
use super::*;

struct House {
    dir: tempfile::TempDir,
    session: Session,
    threads: Threads,
}

impl House {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = EventLog::open(dir.path(), &Options::default(), &mut |_| ()).unwrap();
        let positions = log.derived().tree("positions").unwrap();
        let (governor, threads) = Governor::start(log, &Config::default()).unwrap();
        let session = Session { governor, not_before: Timestamp::from_nanos(0), keyframes: None, positions };
        Self { dir, session, threads }
    }

    fn canary(&self, settings: &settings::Canary) -> Canary {
        self.canary_over(settings, self.dir.path())
    }

    fn canary_over(&self, settings: &settings::Canary, dir: &Path) -> Canary {
        let (_, settings) = watch::channel(settings.clone());
        Canary::new(self.session.clone(), settings, dir, || Duration::from_millis(10)).unwrap()
    }

    async fn shut_down(self) {
        self.session.governor.shutdown(self.threads).await.unwrap();
    }
}

/// Nothing but what a test adds: the disk may be full and the clock set where tests run.
fn quiet() -> settings::Canary {
    settings::Canary { disk_free_mib_min: 0, clock_offset_ms_max: 86_400_000, ..settings::Canary::default() }
}

/// What a round says of a component: `None` where it is well.
async fn said(canary: &mut Canary, component: &str) -> Option<String> {
    canary.round().await.unwrap();
    canary.last_round().borrow().results[component].clone()
}

fn alerts(recorded: &Recorded) -> Vec<Alert> {
    let alert = |event: &Event| if let Event::CanaryAlerted(alert) = event { Some(alert.clone()) } else { None };
    recorded.events.iter().filter_map(alert).collect()
}

/// A server that answers every request with the status it is told at the moment.
async fn page(status: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/health", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1_024];
            if stream.read(&mut head).await.is_ok() {
                let status = status.load(Ordering::Relaxed);
                let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                drop(stream.write_all(answer.as_bytes()).await);
            }
        }
    });
    url
}

#[tokio::test]
async fn a_house_in_order_is_recorded_as_such() {
    let house = House::start();
    let mut canary = house.canary(&quiet());
    let recorded = canary.round().await.unwrap();
    let round = canary.last_round().borrow().clone();
    let well: BTreeMap<SmolStr, Option<String>> = ["clock", "disk", "log"].map(|name| (name.into(), None)).into();
    assert_eq!(round.results, well);
    assert!(recorded.events.contains(&Event::CanaryChecked((*round).clone())), "{recorded:?}");
    assert_eq!(alerts(&recorded), []);
    house.shut_down().await;
}

#[tokio::test]
async fn a_full_disk_kills_after_the_third_round_and_not_before() {
    let house = House::start();
    let full = settings::Canary { disk_free_mib_min: u64::MAX, ..quiet() };
    let mut canary = house.canary(&full);
    for _ in 0..2 {
        assert_eq!(alerts(&canary.round().await.unwrap()), []);
    }
    let third = canary.round().await.unwrap();
    let said = canary.last_round().borrow().results["disk"].clone().unwrap();
    assert!(said.contains("MiB free, at least 18446744073709551615 MiB wanted"), "{said}");
    let action = FailureAction::Kill;
    assert_eq!(alerts(&third), [Alert::Failed { component: "disk".into(), failures: 3, message: said, action }]);
    assert!(third.events.iter().any(|event| matches!(event, Event::KillSwitchEngaged { .. })));
    assert_eq!(alerts(&canary.round().await.unwrap()), [], "at the edge only");
    house.shut_down().await;
}

#[tokio::test]
async fn a_directory_that_is_gone_fails_the_log_and_the_disk() {
    let house = House::start();
    let gone = house.dir.path().join("gone");
    let mut canary = house.canary_over(&quiet(), &gone);
    assert!(said(&mut canary, "log").await.unwrap().contains("No such file"));
    assert!(canary.last_round().borrow().results["disk"].clone().unwrap().contains("No such file"));
    std::fs::create_dir(&gone).unwrap();
    assert_eq!(said(&mut canary, "log").await, None);
    house.shut_down().await;
}

#[tokio::test]
async fn a_port_that_closes_fails_and_one_that_opens_again_recovers() {
    let house = House::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let broker = settings::Tcp { name: "broker".to_owned(), address: address.to_string() };
    let mut canary = house.canary(&settings::Canary { tcp: vec![broker], ..quiet() });
    assert_eq!(said(&mut canary, "tcp:broker").await, None);
    drop(listener);
    let mut third = None;
    for _ in 0..3 {
        third = Some(canary.round().await.unwrap());
        let said = canary.last_round().borrow().results["tcp:broker"].clone().unwrap();
        assert!(said.contains("refused"), "{said}");
    }
    assert_eq!(alerts(&third.unwrap()).len(), 1);
    let _again = TcpListener::bind(address).await.unwrap();
    let recovered = canary.round().await.unwrap();
    assert_eq!(alerts(&recovered), [Alert::Recovered { component: "tcp:broker".into() }]);
    house.shut_down().await;
}

#[tokio::test]
async fn a_page_must_answer_with_its_status_in_time() {
    let house = House::start();
    let status = Arc::new(AtomicU16::new(500));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = |name: &str, url: String, status| settings::Http { name: name.to_owned(), url, status };
    let url = page(status.clone()).await;
    let settings = settings::Canary {
        check_timeout_ms: 1_500,
        http: vec![
            named("good", url.clone(), 200),
            named("moved", url, 302),
            named("silent", format!("http://{}/?key=secret", silent.local_addr().unwrap()), 200),
            named("closed", "http://127.0.0.1:1/?key=secret".to_owned(), 200),
        ],
        ..quiet()
    };
    let mut canary = house.canary(&settings);
    let begun = Instant::now();
    assert_eq!(said(&mut canary, "http:good").await.unwrap(), "answered 500 Internal Server Error, expected 200");
    assert!(begun.elapsed() < Duration::from_millis(2_900), "one after the other it would be longer");
    let round = canary.last_round().borrow().clone();
    assert_eq!(round.results["http:silent"].as_deref(), Some("no answer within 1500 ms"));
    let closed = round.results["http:closed"].clone().unwrap();
    assert!(closed.contains("refused") && !closed.contains("secret"), "{closed}");
    status.store(302, Ordering::Relaxed);
    assert_eq!(said(&mut canary, "http:moved").await, None, "it is not followed");
    status.store(200, Ordering::Relaxed);
    assert_eq!(said(&mut canary, "http:good").await, None);
    house.shut_down().await;
}

#[tokio::test]
async fn a_panic_is_a_failure_of_the_one_who_panicked() {
    let house = House::start();
    let mut canary = house.canary(&quiet());
    canary.add("actors", component(|| async { panic!("out of {}", "luck") }));
    assert_eq!(said(&mut canary, "actors").await.unwrap(), "the check panicked: out of luck");
    assert_eq!(canary.last_round().borrow().results["log"], None);
    house.shut_down().await;
}

#[tokio::test]
async fn a_check_that_hangs_holds_one_thread_and_no_more() {
    let alone = Alone::default();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hangs = {
        let held = Mutex::new(Some(held));
        component(move || {
            let (alone, held) = (alone.clone(), held.lock().unwrap().take());
            async move { alone.run(move || held.map_or(Ok(()), |held| Ok(held.recv()?))).await }
        })
    };
    let timeout = Duration::from_millis(50);
    let ask = || component::checked(hangs.clone(), timeout);
    assert_eq!(ask().await.unwrap(), "no answer within 50 ms");
    assert_eq!(ask().await.unwrap(), "the check of an earlier round still hangs");
    release.send(()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Some(said) = ask().await {
        assert!(Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_watch_outlives_rounds_that_are_not_recorded_and_ends_when_told() {
    let house = House::start();
    let session = house.session.clone();
    let mut canary = house.canary(&quiet());
    let (asked, rounds) = (Arc::new(AtomicU32::new(0)), canary.last_round());
    let counted = asked.clone();
    canary.add(
        "counted",
        component(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        }),
    );
    let stop = CancellationToken::new();
    let watching = tokio::spawn(canary.watch(stop.clone()));
    let reaches = async |count: u32| {
        while asked.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, reaches(2)).await.unwrap();
    assert_eq!(rounds.borrow().results["log"], None);
    session.governor.shutdown(house.threads).await.unwrap();
    let before = asked.load(Ordering::Relaxed);
    tokio::time::timeout(patience, reaches(before + 3)).await.unwrap();
    let log = rounds.borrow().results["log"].clone().unwrap();
    assert_eq!(log, "the round before was not recorded: the governor does not take requests");
    stop.cancel();
    tokio::time::timeout(patience, watching).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_source_that_falls_silent_fails_until_it_speaks() {
    let house = House::start();
    let prices = settings::Feed { name: "prices".to_owned(), age_seconds_max: 1 };
    let mut canary = house.canary(&settings::Canary { feeds: vec![prices], ..quiet() });
    let feeds = canary.feeds();
    assert_eq!(said(&mut canary, "feed:prices").await, None, "it counts from the start");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    feeds.arrived("nobody asked");
    assert!(said(&mut canary, "feed:prices").await.unwrap().starts_with("nothing arrived for 1."));
    feeds.arrived("prices");
    assert_eq!(said(&mut canary, "feed:prices").await, None);
    assert_eq!(feeds.age("nobody asked"), None);
    house.shut_down().await;
}

#[test]
fn a_clock_that_was_set_either_way_is_found_and_one_that_goes_on_is_not() {
    let before = Reading { wall: SystemTime::now(), steady: std::time::Instant::now() };
    let second = Duration::from_secs(1);
    let after = |wall: SystemTime| Reading { wall, steady: before.steady + 30 * second };
    let held = |wall| before.held_against(&after(wall), second / 2).map_err(|jumped| jumped.to_string());
    assert_eq!(held(before.wall + 30 * second), Ok(()));
    assert_eq!(held(before.wall + 30 * second + second / 2), Ok(()));
    let jumped =
        |ms: u32| Err(format!("the wall clock jumped by {ms} ms since the round before, at most 500 ms are allowed"));
    assert_eq!(held(before.wall + 31 * second), jumped(1_000));
    assert_eq!(held(before.wall + 29 * second), jumped(1_000));
    assert_eq!(held(before.wall - second), jumped(31_000));
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn people_are_told_when_a_component_falls_and_when_it_is_back_and_not_in_between() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone()).with_max_level(tracing::Level::WARN);
    let _told = tracing::subscriber::set_default(subscriber.finish());
    let house = House::start();
    let mut canary = house.canary(&quiet());
    let well = Arc::new(AtomicBool::new(false));
    let state = well.clone();
    let bus = move || {
        let well = state.load(Ordering::Relaxed);
        async move { if well { Ok(()) } else { Err("no route".into()) } }
    };
    canary.add("bus", component(bus));
    for _ in 0..5 {
        canary.round().await.unwrap();
    }
    well.store(true, Ordering::Relaxed);
    canary.round().await.unwrap();
    canary.round().await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("canary:")).collect();
    assert_eq!(told.len(), 2, "{text}");
    assert!(told[0].contains("ERROR") && told[0].contains("component=bus") && told[0].contains("no route"), "{text}");
    assert!(told[1].contains("a component has recovered component=bus"), "{text}");
    house.shut_down().await;
}

#[tokio::test]
async fn a_connection_is_not_kept_open_to_a_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = component::checked(endpoint::Port::new(&address), Duration::from_secs(10));
    let (said, accepted) = tokio::join!(asked, listener.accept());
    assert_eq!(said, None);
    let mut stream: TcpStream = accepted.unwrap().0;
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}
