//! What a process can run short of, and what can happen to its threads and stacks: address space, data, memory of a group,
//! descriptors, threads, mappings, /proc, system calls, stack; a driver that does not answer; signals at every point. Each
//! time the bytes are right, or there is an error, or SIGBUS that names the address, and the rest of the process goes on.
//! Every case is a process of its own. docs/FAILURES.md says what a program sees.

#[path = "../common/mod.rs"]
mod common;

mod descriptors;
mod drivers;
mod group;
mod interrupted;
mod mappings;
mod memory;
mod process;
mod room;
mod stacks;
mod timers;
mod touch;
mod work;
