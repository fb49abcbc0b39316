//! Checks that block a thread: at most one of each at a time, or a disk that hangs would collect threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Fault;

/// The check of an earlier round has not come back.
#[derive(Debug, thiserror::Error)]
#[error("the check of an earlier round still hangs")]
struct StillHangs;

/// Whether a check is under way.
#[derive(Clone, Default)]
pub(super) struct Alone(Arc<AtomicBool>);

impl Alone {
    /// Does the work on a thread where blocking is allowed, unless it is still being done.
    pub(super) async fn run(&self, work: impl FnOnce() -> Result<(), Fault> + Send + 'static) -> Result<(), Fault> {
        if self.0.swap(true, Ordering::AcqRel) {
            return Err(StillHangs.into());
        }
        // Given back by the work's own thread: the one who asked may have gone by then.
        let under_way = UnderWay(self.clone());
        let work = move || {
            let _under_way = under_way;
            work()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(error.into()),
            },
        }
    }
}

struct UnderWay(Alone);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}
