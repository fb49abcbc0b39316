//! What a person sees of a run while it goes on, and the key that ends it.
//!
//! States are looked at a few times a second and only to be shown: what is traded never depends on them, or a run that
//! goes on after a stop would not repeat what it did before.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use ephor_governance::ids::StrategyId;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::time::Instant;

use super::Speed;
use super::table::{self, Standing, View};
use crate::cli::CliError;
use crate::cli::feed::stop_asked;
use crate::paper::run::{Seen, Watch};
use crate::screen::Screen;
use crate::store::Session;

/// How often the table is drawn, and a key is looked for.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// Draws, waits as the speed asks, and listens for the end.
pub(super) struct Watcher {
    session: Session,
    speed: Speed,
    screen: Option<Screen>,
    colours: bool,
    began: Instant,
    drawn: Option<Instant>,
    stop: Pin<Box<dyn Future<Output = ()>>>,
}

impl Watcher {
    /// Takes the terminal over, where the table is shown.
    pub(super) fn begin(session: &Session, speed: Speed, shows: bool) -> Result<Self, CliError> {
        let colours = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let screen = if shows { Some(Screen::open().map_err(CliError::Output)?) } else { None };
        Ok(Self {
            session: session.clone(),
            speed,
            screen,
            colours,
            began: Instant::now(),
            drawn: None,
            stop: Box::pin(stop_asked()),
        })
    }

    async fn draw(&mut self, seen: &Seen<'_>) -> Result<(), CliError> {
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let mut standings = Vec::new();
        for shown in seen.shown {
            let id: &StrategyId = shown.strategy;
            let looked = self.session.governor.look(id).await;
            let state = looked.map(|restored| restored.state).unwrap_or_default();
            standings.push(Standing {
                strategy: id.to_string(),
                level: state.maturity.level,
                is_paused: !state.pauses.is_empty(),
                health: state.health.score,
                equity: shown.equity,
                currency: shown.currency.to_string(),
                drawdown: shown.drawdown,
                position: shown.position,
                last: shown.last.map(|(action, reason)| (action, reason.to_owned())),
            });
        }
        let view = View { at: seen.at, bars: seen.bars, standings: &standings, colours: self.colours };
        screen.draw(|frame| table::draw(frame, &view)).map_err(CliError::Output)
    }

    /// Whether the person at the terminal has asked for the end.
    fn quit(&self) -> Result<bool, CliError> {
        if self.screen.is_none() {
            return Ok(false);
        }
        while event::poll(Duration::ZERO).map_err(CliError::Output)? {
            let Event::Key(key) = event::read().map_err(CliError::Output)? else { continue };
            let stops = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if key.kind != KeyEventKind::Release && (stops || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a signal has asked for the end.
    async fn is_stopped(&mut self) -> bool {
        tokio::select! {
            biased;
            () = &mut self.stop => true,
            () = std::future::ready(()) => false,
        }
    }
}

impl Watch for Watcher {
    async fn asked_to_end(&mut self) -> Result<(), CliError> {
        loop {
            tokio::select! {
                () = &mut self.stop => return Ok(()),
                () = tokio::time::sleep(DRAWN_EVERY) => {}
            }
            if self.quit()? {
                return Ok(());
            }
        }
    }

    async fn bar(&mut self, seen: &Seen<'_>) -> Result<bool, CliError> {
        let due = match self.speed {
            Speed::Max => Instant::now(),
            #[expect(clippy::cast_precision_loss, reason = "a waiting time")]
            Speed::BarsPerSecond(bars) => {
                self.began + Duration::try_from_secs_f64(seen.bars.0 as f64 / bars).unwrap_or(Duration::MAX / 4)
            }
        };
        loop {
            let is_due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAWN_EVERY);
            if is_due {
                self.draw(seen).await?;
                self.drawn = Some(Instant::now());
                if self.quit()? || self.is_stopped().await {
                    return Ok(false);
                }
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            tokio::time::sleep(left.min(DRAWN_EVERY)).await;
        }
    }
}
