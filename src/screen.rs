//! The terminal, taken over for a view and given back as it was.
//!
//! Raw mode, the alternate screen and a hidden cursor belong together: they are entered together, and left
//! together when the view ends, whether by its own will, by an error or by a panic. What a panic says is
//! then printed on a terminal that shows it.
//!
//! Invariant: while no [`Screen`] is open, nothing here writes to the terminal.

use std::io;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::crossterm::{self, execute};
use ratatui::{DefaultTerminal, Frame, Terminal, backend::CrosstermBackend};

/// Whether the terminal is taken over now: it is given back once.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// A terminal that is drawn on, until it is dropped.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// What the terminal said; it is as it was then.
    pub fn open() -> io::Result<Self> {
        HOOK.call_once(|| {
            let said = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                give_back();
                said(panicked);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let opened = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// What the terminal said.
    pub fn size() -> io::Result<(u16, u16)> {
        crossterm::terminal::size()
    }

    /// Draws one picture.
    ///
    /// # Errors
    /// What the terminal said.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Leaves what was entered, if it was. A terminal that has gone away has nobody to tell.
pub(crate) fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        drop(disable_raw_mode());
        drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
    }
}
