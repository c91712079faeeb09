//! Which runs are merged, and when.

use super::RunInfo;

/// Packs that may be in no run before their footers are merged into one.
pub const MAX_UNCOVERED: usize = 16;

/// Most footers merged at once: each costs an open file and 64 KiB. A rebuild plans again until nothing is left to do.
pub const MAX_MERGED_FOOTERS: usize = 256;

/// How many times larger than all smaller runs together a run must be to be left alone. Eight keeps four runs at ten
/// million objects and rewrites an entry some fifteen times in its life: less than a hundredth of what it describes.
pub const MERGE_FACTOR: u64 = 8;

/// Runs and footers to become one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// Numbers of the runs to merge, smallest first.
    pub runs: Vec<u64>,
    /// How many uncovered packs to merge with them, counted from the first one given.
    pub footers: usize,
    /// Most entries the new run can have.
    pub entries: u64,
}

/// Decides what to merge: nothing while at most [`MAX_UNCOVERED`] packs, of which `uncovered` are the object counts,
/// are in no run; else the footers of the first [`MAX_MERGED_FOOTERS`] of them, and every run that is less than
/// [`MERGE_FACTOR`] times what is merged already.
pub fn plan_merge(runs: &[RunInfo], uncovered: &[u32]) -> Option<MergePlan> {
    if uncovered.len() <= MAX_UNCOVERED {
        return None;
    }
    let mut by_size: Vec<_> = runs.iter().collect();
    by_size.sort_unstable_by_key(|run| (run.entries, run.number));
    let footers = uncovered.len().min(MAX_MERGED_FOOTERS);
    let entries = uncovered[..footers].iter().copied().map(u64::from).sum();
    let mut plan = MergePlan { runs: Vec::new(), footers, entries };
    for run in by_size {
        if run.entries >= plan.entries.saturating_mul(MERGE_FACTOR) {
            break;
        }
        plan.entries += run.entries;
        plan.runs.push(run.number);
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_merges_until_enough_packs_are_uncovered() {
        let runs = [RunInfo { number: 1, entries: 5 }, RunInfo { number: 2, entries: 5 }];
        assert_eq!(plan_merge(&runs, &[100; MAX_UNCOVERED]), None);
        assert_eq!(plan_merge(&runs, &[100; MAX_UNCOVERED + 1]).unwrap().runs, [1, 2]);
    }

    #[test]
    fn a_run_eight_times_larger_is_left_alone() {
        let runs = [RunInfo { number: 3, entries: 17 * 8 }, RunInfo { number: 1, entries: 17 * 8 - 1 }];
        assert_eq!(plan_merge(&runs[..1], &[1; 17]).unwrap().runs, [] as [u64; 0]);
        assert_eq!(
            plan_merge(&runs, &[1; 17]).unwrap(),
            MergePlan { runs: vec![1, 3], footers: 17, entries: 17 + 135 + 136 }
        );
    }

    #[test]
    fn a_rebuild_merges_in_bounded_batches() {
        let (mut uncovered, mut runs, mut number) = (vec![100; 5000], Vec::new(), 0);
        while let Some(plan) = plan_merge(&runs, &uncovered) {
            assert!(plan.footers <= MAX_MERGED_FOOTERS);
            uncovered.drain(..plan.footers);
            runs.retain(|run: &RunInfo| !plan.runs.contains(&run.number));
            number += 1;
            runs.push(RunInfo { number, entries: plan.entries });
        }
        assert!(uncovered.len() <= MAX_UNCOVERED && runs.len() <= 3, "{} {}", uncovered.len(), runs.len());
    }

    #[test]
    fn runs_stay_few_and_entries_are_rewritten_seldom() {
        let (mut runs, mut number, mut written, batches) = (Vec::<RunInfo>::new(), 0, 0, 2000);
        for _ in 0..batches {
            let plan = plan_merge(&runs, &[400; 17]).unwrap();
            runs.retain(|run| !plan.runs.contains(&run.number));
            number += 1;
            written += plan.entries;
            runs.push(RunInfo { number, entries: plan.entries });
            assert!(runs.len() <= 6, "{} runs", runs.len());
        }
        let total = batches * 17 * 400;
        assert_eq!(runs.iter().map(|run| run.entries).sum::<u64>(), total);
        assert!(written <= total * 20, "each entry was written {} times", written / total);
    }
}
