//! Transaction of one job: reads rows that are [known](super::facts), and holds back what it [writes](super::pending).
//!
//! 1. A read by key is answered from what the batch knows. Any other read first writes what was held back.
//! 2. What a job writes before the commit, it writes behind a savepoint, which few jobs need.
//! 3. A job that fails is undone: in memory, and to its savepoint if there is one.

mod apps_agents;
mod audit;
mod keys;
mod launch_tokens;
mod log;
mod names;
mod tokens;
mod trust_rules;
mod tx;
mod verifiers;

pub use self::tx::Tx;
