//! The program about itself.

use serde::Serialize;
use utoipa::ToSchema;

/// Answer of `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// Of the envelope and everything in it.
    pub json: u32,
    /// What it was built for.
    pub target: String,
}

/// Answer of `completions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Completions {
    /// For which shell.
    pub shell: String,
    /// The script.
    pub script: String,
}

/// Answer of `man`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ManPages {
    /// Where they were written.
    pub directory: String,
    /// Their file names.
    pub pages: Vec<String>,
}

/// Answer of `schema`: a JSON Schema document.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct SchemaDocument(pub serde_json::Value);

/// A step of the demonstration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DemoStep {
    /// What it showed.
    pub name: String,
    /// What was measured.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// Answer of `demo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DemoReport {
    /// In order.
    pub steps: Vec<DemoStep>,
    /// Where it worked; null when the directory was removed.
    pub directory: Option<String>,
}
