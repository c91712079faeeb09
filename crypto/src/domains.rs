//! The list of every label this program hashes or signs under.
//!
//! A digest or signature made for one purpose must mean nothing for another. What is hashed or signed begins with its
//! label, so it suffices that no label is a prefix of another, and none of a text which libp2p signs with the same key.
//! A test reads the sources of all crates for labels and fails on one that is missing here.

/// Every label in use, for hashes ([`crate::Context`], [`crate::ObjectHasher`]) and signatures
/// ([`crate::SignatureDomain`]) alike.
pub const DOMAINS: [&str; 22] = [
    "shard v1 pack",
    "shard v1 event id",
    "shard v1 event body",
    "shard v1 event chunk",
    "shard v1 object name",
    "shard v1 issue state",
    "shard v1 issue snapshot",
    "shard v1 operation",
    "shard v1 object chunk",
    "shard v1 object manifest",
    "shard v1 object tree",
    "shard v1 object commit",
    "shard v1 object tag",
    "shard v1 object conflict",
    "shard v1 object database",
    "shard v1 object issue state",
    "shard v1 object genesis",
    "shard v1 commit signature",
    "shard v1 tag signature",
    "shard v1 ref set signature",
    "shard v1 ref set header",
    "shard v1 event signature",
];

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::DOMAINS;

    /// What libp2p has a node's key sign begins with one of these: the Noise and TLS handshakes, gossipsub messages, and
    /// envelopes, whose domain follows its length.
    const LIBP2P: [&str; 6] = [
        "noise-libp2p-static-key:",
        "libp2p-tls-handshake:",
        "libp2p-pubsub:",
        "\x12libp2p-peer-record",
        "\x14libp2p-routing-state",
        "\x11libp2p-relay-rsvp",
    ];

    #[test]
    fn no_domain_is_a_prefix_of_another() {
        let all: Vec<&str> = DOMAINS.into_iter().chain(LIBP2P).collect();
        for (i, domain) in all.iter().enumerate() {
            for (j, other) in all.iter().enumerate() {
                assert!(i == j || !other.starts_with(domain), "{domain:?} is a prefix of {other:?}");
            }
        }
    }

    #[test]
    fn every_label_in_the_sources_is_listed() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut found = BTreeSet::new();
        for member in fs::read_dir(workspace).unwrap() {
            let member = member.unwrap();
            // What generates test data makes nothing that the product would take for its own.
            if member.file_name() == "tests" {
                continue;
            }
            let mut pending: Vec<PathBuf> = vec![member.path().join("src")];
            while let Some(path) = pending.pop() {
                if path.is_dir() {
                    pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let source = fs::read_to_string(&path).unwrap();
                    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
                    let labels = code.split("\"shard v1 ").skip(1).filter_map(|rest| rest.split('"').next());
                    // An empty rest or one that ends with a space is the beginning of a label, not one.
                    let labels = labels.filter(|label| !label.is_empty() && !label.ends_with(' '));
                    found.extend(labels.map(|label| format!("shard v1 {label}")));
                }
            }
        }
        assert!(found.len() >= 12, "the search found only {found:?}");
        for label in &found {
            assert!(DOMAINS.contains(&label.as_str()), "{label:?} is missing from DOMAINS");
        }
    }
}
