//! The committed reference is what the program says of itself.

use std::path::Path;

use clap::CommandFactory;

#[test]
fn the_command_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli-reference.md");
    let generated = shard_cli::reference::markdown(&shard_cli::args::Cli::command());
    if std::env::var_os("SHARD_TEST_BLESS").is_some() {
        std::fs::write(&path, &generated).expect("docs/ can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/cli-reference.md differs: run the test with SHARD_TEST_BLESS=1 and commit it"
    );
}
