//! The policy lab: traces of programs are replayed under libhmmrt's own policies (the code of `hmmrt::policy` that the runtime
//! asks), under others' published rules, and under an oracle that knows the future, on a model of the bus and of what faults
//! cost. Deterministic: the same trace gives the same figures. See README.md.

pub mod bus;
pub mod checks;
pub mod costs;
pub mod draw;
pub mod oracle;
pub mod reasons;
pub mod record;
pub mod replay;
pub mod report;
pub mod trace;
pub mod traces;
pub mod variants;
