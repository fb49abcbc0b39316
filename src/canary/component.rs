//! What can be checked, and how an answer, a late one and a panic become one result.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::telemetry::chain;

/// What a check found wrong.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Of a message no more than this is recorded, characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// Something the service stands on.
pub trait Component: Send + Sync + 'static {
    /// Asks it once. A check must not block the thread that it is polled on, and may be dropped at any time.
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>>;
}

struct ByFunction<F>(F);

impl<F, A> Component for ByFunction<F>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), Fault>> + Send + 'static,
{
    fn check(self: Arc<Self>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin((self.0)())
    }
}

/// A component that is asked by a function.
pub fn component<F, A>(check: F) -> Arc<dyn Component>
where
    F: Fn() -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), Fault>> + Send + 'static,
{
    Arc::new(ByFunction(check))
}

/// Asks a component once, within a time; what is wrong with it, if anything.
pub(super) async fn checked(component: Arc<dyn Component>, timeout: Duration) -> Option<String> {
    // In a task of its own, so that a panic is its own.
    let mut task = tokio::spawn(async move { component.check().await });
    let message = match tokio::time::timeout(timeout, &mut task).await {
        Ok(Ok(Ok(()))) => return None,
        Ok(Ok(Err(fault))) => chain(&*fault),
        Ok(Err(error)) => match error.try_into_panic() {
            Ok(panic) => format!("the check panicked: {}", said(&*panic)),
            Err(error) => format!("the check did not run: {error}"),
        },
        Err(_elapsed) => {
            task.abort();
            format!("no answer within {} ms", timeout.as_millis())
        }
    };
    Some(message.chars().take(MESSAGE_CHARS_MAX).collect())
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("nothing said")
}
