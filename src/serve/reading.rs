//! Reading what is recorded, away from the threads that answer: reads may wait for the disk, and only so many do at
//! once.

use actix_web::web;

use super::app::{App, Governed};
use super::problem::Problem;

/// Reads under way at once; others wait for their turn.
pub const READS_MAX: usize = 8;

/// Reads something on a thread of its own. It keeps its place until it is done, also where nobody waits any more.
///
/// # Errors
/// 409 where governance is disabled, 503 where there is no thread to be had; else what was read says.
pub async fn read<T: Send + 'static>(
    app: &web::Data<App>,
    work: impl FnOnce(&Governed) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    app.governed()?;
    let place = app.reads.clone().acquire_owned().await.map_err(|_| Problem::stopping())?;
    let app = app.clone();
    let done = web::block(move || {
        let _place = place;
        work(app.governed()?)
    });
    done.await.map_err(|_| Problem::stopping())?
}
