//! Answers on their way back: those of one group that wait on one thread travel there together.
//!
//! To wake another thread costs as much as a decision, and where there are few processors the thread that is
//! woken takes the waker's place at once: answered one by one, two threads change places for every answer. So
//! a group's answers for one thread are handed to that thread's own runtime as one piece of work.
//!
//! Invariant: an answer handed over is delivered, also where the runtime it was handed to is gone.

use std::thread::{ThreadId, current};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::answer::{Failure, Recorded};

type Answer = Result<Recorded, Failure>;

/// Where an answer goes.
pub(crate) struct Reply {
    to: oneshot::Sender<Answer>,
    /// Who asked; `None` outside of a runtime.
    home: Option<(ThreadId, Handle)>,
}

/// A place for an answer, for the calling thread to wait at.
pub(crate) fn reply() -> (Reply, oneshot::Receiver<Answer>) {
    let (to, answer) = oneshot::channel();
    let home = Handle::try_current().ok().map(|runtime| (current().id(), runtime));
    (Reply { to, home }, answer)
}

impl Reply {
    /// Answers at once. An asker that is gone needs no answer, and what it asked for is recorded all the same.
    pub(crate) fn answer(self, answer: Answer) {
        drop(self.to.send(answer));
    }
}

/// Answers for one thread.
struct Parcel {
    thread: ThreadId,
    runtime: Handle,
    answers: Delivery,
}

/// Delivers when it is dropped: when it is run and when it never will be.
struct Delivery(Vec<(oneshot::Sender<Answer>, Answer)>);

impl Drop for Delivery {
    fn drop(&mut self) {
        for (to, answer) in self.0.drain(..) {
            drop(to.send(answer));
        }
    }
}

/// The answers of one group.
#[derive(Default)]
pub(crate) struct Answers {
    parcels: Vec<Parcel>,
}

impl Answers {
    /// Adds an answer; one that nobody's runtime waits for is given at once.
    pub(crate) fn add(&mut self, Reply { to, home }: Reply, answer: Answer) {
        let Some((thread, runtime)) = home else { return drop(to.send(answer)) };
        match self.parcels.iter_mut().find(|parcel| parcel.thread == thread) {
            Some(parcel) => parcel.answers.0.push((to, answer)),
            None => self.parcels.push(Parcel { thread, runtime, answers: Delivery(vec![(to, answer)]) }),
        }
    }

    /// Sends every parcel on its way. A single answer gains nothing by company, and is given here.
    pub(crate) fn hand_over(self) {
        for Parcel { runtime, answers, .. } in self.parcels {
            if answers.0.len() > 1 {
                drop(runtime.spawn(async move { drop(answers) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(count: usize) -> (Answers, Vec<oneshot::Receiver<Answer>>) {
        let mut answers = Answers::default();
        let add = |_| {
            let (reply, receiver) = reply();
            answers.add(reply, Err(Failure::Overloaded));
            receiver
        };
        let receivers = (0..count).map(add).collect();
        (answers, receivers)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn a_group_arrives_as_one_piece_of_work_of_the_thread_that_asked() {
        runtime().block_on(async {
            let (answers, mut receivers) = group(3);
            answers.hand_over();
            assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_err()), "it did not travel");
            for receiver in receivers {
                assert!(matches!(receiver.await, Ok(Err(Failure::Overloaded))));
            }
        });
    }

    #[test]
    fn a_single_answer_and_one_to_no_runtime_are_there_at_once() {
        let (_answers, mut receivers) = group(1);
        assert!(receivers[0].try_recv().is_ok());
        runtime().block_on(async {
            let (answers, mut receivers) = group(1);
            answers.hand_over();
            assert!(receivers[0].try_recv().is_ok());
        });
    }

    #[test]
    fn answers_outlive_the_runtime_that_asked() {
        let ended = runtime();
        let (answers, mut receivers) = ended.block_on(async { group(3) });
        drop(ended);
        answers.hand_over();
        assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_ok()), "an answer was lost");
        // Never handed over at all: no worse.
        let ended = runtime();
        let (answers, mut receivers) = ended.block_on(async { group(2) });
        drop((ended, answers));
        assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_ok()), "an answer was lost");
    }
}
