//! Faults of the real machine, met by the real program: the short form of each suite.
//!
//! What a machine cannot offer is skipped with its reason and the name of the test that keeps the promise without it.

use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use shard_tests::need::{self, Need};
use shard_tests::suite::hammer::{Load, hammer};
use shard_tests::suite::{Findings, Program, Shell, Suite, full, kill, long_add, power, syncs};
use shard_tests::{Sandbox, Shard};

/// Seed of the ordinary run; the suites alone take another each time they are told to.
const SEED: u64 = 1;

fn main() {
    let mut arguments = Arguments::from_args();
    // They measure and load the machine themselves: two at once would only disturb each other.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(1));
    let trials = vec![
        trial("power_cuts_lose_nothing_that_was_acknowledged", Suite::Power, Vec::new(), || {
            power::cut_power(&Program, Some(Shard::get()), 20, SEED)
        }),
        trial("kills_under_load_lose_nothing_that_was_acknowledged", Suite::Kill, Vec::new(), || {
            kill::kill_at_random(&Program, &sandbox()?, 100, SEED)
        }),
        trial("kills_at_each_call_leave_all_or_nothing", Suite::Kill, vec![Need::Strace], || {
            kill::kill_at_calls(&Program, &sandbox()?, 60, 4)
        }),
        plain(
            "an_add_killed_on_its_way_is_taken_up_again",
            vec![Need::Command("add".to_owned()), Need::Command("fsck".to_owned())],
            "an_add_that_was_cancelled_is_taken_up_again",
            || long_add::kill_a_long_add(&sandbox()?),
        ),
        trial("sixteen_processes_commit_and_read_at_once", Suite::Hammer, Vec::new(), || {
            hammer(&sandbox()?, Load { writers: 16, readers: 2, time: Duration::from_secs(5) })
        }),
        trial("four_readers_that_never_pause_delay_no_writer", Suite::Hammer, Vec::new(), || {
            let findings = hammer(&sandbox()?, Load { writers: 1, readers: 4, time: Duration::from_secs(5) })?;
            contains_no(findings, "busy")
        }),
        syncs_of("sqlite", "a_small_commit_costs_one_sync_on_sqlite"),
        syncs_of("flat", "a_small_commit_costs_one_sync_on_flat"),
        syncs_of("sled", "a_small_commit_costs_one_sync_on_sled"),
        trial("a_full_disk_stops_commits_and_nothing_else", Suite::Full, Vec::new(), || full::fill(&sandbox()?, 10)),
        // The suites themselves, on stores whose behaviour is known.
        plain("the_power_suite_finds_nothing_in_a_careful_store", power_needs(), Suite::Power.twin(), || {
            power::cut_power(&Shell { synced: true }, None, 4, SEED)
        }),
        plain("the_power_suite_finds_what_a_careless_store_loses", power_needs(), Suite::Power.twin(), || {
            contradicted(power::cut_power(&Shell { synced: false }, None, 8, SEED)?)
        }),
        plain("the_kill_suite_finds_nothing_in_a_careful_store", Vec::new(), "-", || {
            kill::kill_at_random(&Shell { synced: true }, &without_shard()?, 10, SEED)
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn power_needs() -> Vec<Need> {
    Suite::Power.needs().into_iter().filter(|n| !matches!(n, Need::Command(_))).collect()
}

/// Turns findings around: a suite that finds nothing in a store known to be bad is itself at fault.
fn contradicted(findings: Findings) -> Result<Findings, String> {
    if findings.violations.is_empty() {
        return Err(format!("nothing was found: {findings}"));
    }
    Ok(Findings { violations: Vec::new(), ..findings })
}

/// Turns a count that must not be into a violation.
fn contains_no(mut findings: Findings, what: &'static str) -> Result<Findings, String> {
    if let Some((count, _)) = findings.counts.iter().find(|(count, of)| *of == what && *count > 0) {
        findings.violations.push(format!("{count} {what}"));
    }
    Ok(findings)
}

fn syncs_of(backend: &'static str, name: &'static str) -> Trial {
    let needs = [vec![Need::Strace], ["init", "add", "commit"].map(|v| Need::Command(v.to_owned())).to_vec()].concat();
    plain(name, needs, "small_operations_cost_one_sync", move || {
        let mut sandbox = sandbox()?;
        sandbox.set("SHARD_STORAGE_BACKEND", backend);
        syncs::of_small_operations(&sandbox)
    })
}

fn without_shard() -> Result<Sandbox, String> {
    Sandbox::without_shard().map_err(|e| e.to_string())
}

fn sandbox() -> Result<Sandbox, String> {
    Sandbox::new().map_err(|e| e.to_string())
}

fn trial(
    name: &'static str,
    suite: Suite,
    more: Vec<Need>,
    run: impl FnOnce() -> Result<Findings, String> + Send + 'static,
) -> Trial {
    plain(name, [more, suite.needs()].concat(), suite.twin(), run)
}

fn plain(
    name: &'static str,
    needs: Vec<Need>,
    twin: &'static str,
    run: impl FnOnce() -> Result<Findings, String> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || {
        if let Some(skip) = need::check(name, &needs, twin)? {
            return Ok(Completion::ignored_with(skip));
        }
        let findings = run()?;
        println!("{name}: {findings}");
        if findings.violations.is_empty() { Ok(Completion::Completed) } else { Err(Failed::from(findings)) }
    })
}
