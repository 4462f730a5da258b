//! Places for instances of verifiers.
//!
//! An instance that may accept tokens must not be forgotten, so the number of instances is bounded when new ones report. Half
//! of the places belong to the verifiers in equal parts, the others to any: a leaked key of one verifier can't keep the
//! instances of another out.

/// Largest number of instances of all verifiers.
pub(super) const MAX_INSTANCES: usize = 10_000;
/// Largest number of verifiers.
pub(super) const MAX_VERIFIERS: usize = 1000;

/// Returns whether a verifier with `own` instances may have another one. `others` are the numbers of the others' instances.
pub(super) fn has_place(own: usize, others: impl Iterator<Item = usize> + Clone) -> bool {
    let verifiers = others.clone().count().saturating_add(1);
    let part = if verifiers == 1 { MAX_INSTANCES } else { MAX_INSTANCES / verifiers.saturating_mul(2) };
    if own < part {
        return true;
    }
    let taken: usize = others.map(|of_other| of_other.max(part)).sum();
    own.saturating_add(taken) < MAX_INSTANCES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_verifier_may_have_all_places() {
        assert!(has_place(MAX_INSTANCES - 1, std::iter::empty()));
        assert!(!has_place(MAX_INSTANCES, std::iter::empty()));
    }

    #[test]
    fn each_verifier_has_its_part_whatever_others_take() {
        for verifiers in [2, 3, 100, MAX_VERIFIERS] {
            let part = MAX_INSTANCES / (2 * verifiers);
            let greedy =
                (0..=MAX_INSTANCES).find(|own| !has_place(*own, std::iter::repeat_n(0, verifiers - 1))).unwrap();
            assert_eq!(greedy, MAX_INSTANCES - part * (verifiers - 1), "{verifiers}");
            let others = [greedy].into_iter().chain(std::iter::repeat_n(0, verifiers - 2));
            let places = (0..=MAX_INSTANCES).find(|own| !has_place(*own, others.clone())).unwrap();
            assert!(places >= part, "{verifiers}: {places}");
        }
    }

    #[test]
    fn total_is_never_exceeded() {
        let mut counts = [0_usize; 7];
        for turn in 0..20_000 {
            // Unequal demand.
            let index = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6][turn % 10];
            let others: Vec<usize> =
                counts.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, count)| *count).collect();
            if has_place(counts[index], others.into_iter()) {
                counts[index] += 1;
            }
        }
        assert_eq!(counts.iter().sum::<usize>(), MAX_INSTANCES);
        assert!(counts.iter().all(|count| *count >= MAX_INSTANCES / 14), "{counts:?}");
    }
}
