//! Counts of the events of all runs.

/// Defines the counts, and their sum.
macro_rules! witness {
    ($($(#[$doc:meta])* $count:ident,)*) => {
        /// Counts over all runs.
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct Witness {
            $($(#[$doc])* pub(super) $count: u64,)*
        }

        impl Witness {
            pub(super) fn plus(self, other: Self) -> Self {
                Self { $($count: self.$count + other.$count,)* }
            }
        }
    };
}

witness! {
    accepted,
    accepted_while_pending,
    confirmed,
    with_fenced,
    unbounded,
    restarts_while_pending,
    /// Instances that ended, with a report or without.
    ended_instances,
    rotations,
    withdrawals,
    accepted_of_retiring_key,
    /// Revocations while the broker's wall clock was wrong.
    wrong_clocks,
    removals,
    /// Enrolments of names that were removed.
    enrolments,
    bound_changes,
    suspensions,
    /// Reports that were rejected because the verifier was removed or its bound changed.
    rejected_reports,
    /// Reports that a proxy acknowledged without forwarding them.
    forged_acceptances,
    /// Instances without a bound that the operator forgot.
    forgotten,
}
