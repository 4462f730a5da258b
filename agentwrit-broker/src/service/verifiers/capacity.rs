//! Places for instances of verifiers.
//!
//! An instance that may accept tokens must not be forgotten, so the number of instances is bounded when new ones report.
//!
//! 1. Half of the places belong to the verifiers in equal parts.
//! 2. Of the others a verifier may take as many as are still free then (the dynamic threshold of shared switch buffers). So a
//!    leaked key of one verifier takes at most half of all places where several are enrolled, and never those of another.

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
    let beyond_part = own.saturating_sub(part);
    let taken: usize = others.map(|of_other| of_other.saturating_sub(part)).sum();
    let shared = MAX_INSTANCES.saturating_sub(part.saturating_mul(verifiers));
    beyond_part < shared.saturating_sub(taken).saturating_sub(beyond_part)
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
            assert_eq!(greedy, part + (MAX_INSTANCES - part * verifiers).div_ceil(2), "{verifiers}");
            assert!(greedy <= MAX_INSTANCES / 2, "{verifiers}");
            let others = [greedy].into_iter().chain(std::iter::repeat_n(0, verifiers - 2));
            let places = (0..=MAX_INSTANCES).find(|own| !has_place(*own, others.clone())).unwrap();
            assert!(places >= part, "{verifiers}: {places}");
        }
    }

    #[test]
    fn second_greedy_verifier_gets_half_of_what_first_left() {
        let verifiers = 100;
        let part = MAX_INSTANCES / (2 * verifiers);
        let mut counts = vec![0; verifiers];
        let mut beyond_part = Vec::new();
        for index in 0..3 {
            let others = |counts: &[usize]| [&counts[..index], &counts[index + 1..]].concat();
            while has_place(counts[index], others(&counts).into_iter()) {
                counts[index] += 1;
            }
            beyond_part.push(counts[index] - part);
        }
        assert_eq!(beyond_part, [2500, 1250, 625]);
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
        let total = counts.iter().sum::<usize>();
        assert!((MAX_INSTANCES * 9 / 10..=MAX_INSTANCES).contains(&total), "{counts:?}");
        assert!(counts.iter().all(|count| *count >= MAX_INSTANCES / 14), "{counts:?}");
    }
}
