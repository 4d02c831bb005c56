//! Loom models: the runtime's own files, compiled against loom's atomics and explored in every order that two or three
//! threads can meet in. README.md says which files, what is a copy, and which mutations each model has caught.

#![cfg(test)]
#![allow(dead_code, reason = "the runtime's files have more than the models use")]

mod atomic;
#[path = "../../runtime/src/summary.rs"]
mod summary;
#[path = "../../runtime/src/timeline.rs"]
mod timeline;

mod device {
    pub(crate) const MAX_DEVICES: usize = 1;
}

mod sys {
    pub(crate) mod futex;
    #[path = "../../../runtime/src/sys/lock.rs"]
    pub(crate) mod lock;
    pub(crate) mod stderr;
    pub(crate) mod thread;
}

/// Nothing is traced.
mod trace {
    pub(crate) enum What {
        Reached { stream: u16, ticket: u64 },
    }
    pub(crate) fn record(_: impl FnOnce() -> What) {}
}

impl timeline::Timeline {
    fn number(&self) -> u16 {
        0
    }
}

mod acquire;
mod free;
mod lock;
mod release;
mod request;
mod wait;

/// Explores a model in all orders with at most `preemptions` of them, which keeps it to seconds.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}
