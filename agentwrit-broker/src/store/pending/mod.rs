//! Rows that jobs have written and the store has not yet: they are held back until the commit, so that a batch writes each
//! table once and a job that fails is undone without the store.

mod event;
mod record;
mod records;
mod trust_rules;
mod verifiers;

pub(super) use self::{
    event::{AuditRun, EventRow, Ordinals},
    record::{Kind, Record, Verb, Write, WriteRecords},
    records::{
        AgentChange, AgentRow, AppChange, AppRow, DelegatorRow, LaunchTokenDeletion, LaunchTokenRow, LaunchTokenUse,
        NameRow, NonceRow, TokenEnd, TokenRow,
    },
    trust_rules::{AssertionRow, TrustRuleDeletion, TrustRuleRow},
    verifiers::{EnrolmentDeletion, EnrolmentRow, InstanceRow, stored_bound},
};
use super::{StoreError, revocations::RevocationRow};

/// Number of rows of each table for which the memory is kept after a commit.
const KEPT_ROWS: usize = 1024;

/// Lists the kinds of rows, in the order in which they are written: a row follows those that it refers to.
macro_rules! pending {
    ($($table:ident: $record:ty,)*) => {
        /// Rows that are held back.
        #[derive(Debug, Default)]
        pub(super) struct Pending {
            $(pub(super) $table: Vec<$record>,)*
        }

        /// A state that later rows are taken back to.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct PendingMark {
            $($table: usize,)*
        }

        impl Pending {
            pub(super) fn mark(&self) -> PendingMark {
                PendingMark { $($table: self.$table.len(),)* }
            }

            pub(super) fn is_empty(&self) -> bool {
                $(self.$table.is_empty())&&*
            }

            /// Drops all rows. Their memory is used again.
            pub(super) fn clear(&mut self) {
                $(
                    self.$table.clear();
                    self.$table.shrink_to(KEPT_ROWS);
                )*
            }

            /// Takes the rows since `mark` out.
            pub(super) fn split_off(&mut self, mark: &PendingMark) -> Self {
                Self { $($table: self.$table.split_off(mark.$table.min(self.$table.len())),)* }
            }

            /// Writes all rows.
            pub(super) fn write_to<'p>(&'p self, store: &mut impl WriteRecords<'p>) -> Result<(), StoreError> {
                $(if !self.$table.is_empty() {
                    store.write(&latest(&self.$table))?;
                })*
                Ok(())
            }
        }
    };
}

pending! {
    names: NameRow,
    apps: AppRow,
    app_changes: AppChange,
    agents: AgentRow,
    agent_changes: AgentChange,
    tokens: TokenRow,
    delegators: DelegatorRow,
    token_ends: TokenEnd,
    nonces: NonceRow,
    trust_rule_deletions: TrustRuleDeletion,
    trust_rules: TrustRuleRow,
    assertions: AssertionRow,
    launch_tokens: LaunchTokenRow,
    launch_token_uses: LaunchTokenUse,
    launch_token_deletions: LaunchTokenDeletion,
    enrolment_deletions: EnrolmentDeletion,
    enrolments: EnrolmentRow,
    instances: InstanceRow,
    revocations: RevocationRow,
    audit_runs: AuditRun,
    events: EventRow,
}

/// Leaves out changes of a row that is changed again: one statement changes a row once.
fn latest<R: Record>(rows: &[R]) -> Vec<&R> {
    if R::WRITE.verb != Verb::Update || rows.len() == 1 {
        return rows.iter().collect();
    }
    let mut keys = std::collections::HashSet::new();
    let mut kept: Vec<&R> = rows
        .iter()
        .rev()
        .filter(|row| {
            let mut values = Vec::with_capacity(R::WRITE.columns.len());
            row.values(&mut values);
            values.into_iter().next().is_none_or(|key| keys.insert(key))
        })
        .collect();
    kept.reverse();
    kept
}
