//! Log lines on standard error or in a file, plain or one JSON object each, with the trace id of the command.
//!
//! Fields whose name says they are secret are written as `[redacted]`, and every text passes [`crate::escape`]: a log is
//! read on terminals too.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::args::LogFormat;
use crate::escape;

/// Words in a field's name that make its value a secret.
const SECRET_WORDS: [&str; 6] = ["passphrase", "password", "secret", "token", "private_key", "key_bytes"];

/// Identifies one command or request through logs, envelopes and other machines: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Draws a new one. Where the system gives no randomness it is all zeros: a command does not fail for its log.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        let _ = getrandom::fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses a filter: a level, or `target=level` pairs separated by commas.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_filter(text: &str) -> Result<Targets, String> {
    let known = |part: &str| part.contains('=') || part.parse::<tracing::level_filters::LevelFilter>().is_ok();
    if let Some(part) = text.split(',').find(|part| !known(part.trim())) {
        return Err(format!("`{part}` is no log level: use off, error, warn, info, debug, trace, or target=level"));
    }
    text.parse().map_err(|error| format!("`{text}` is no log filter: {error}"))
}

/// Starts logging for the rest of the process, to a file or else to standard error. A second call changes nothing.
///
/// Each line is one write, so that lines of several processes do not mix in a file opened for appending.
pub fn start(filter: Targets, format: LogFormat, trace: TraceId, file: Option<File>) {
    let write: Arc<Write> = match file {
        Some(file) => Arc::new(move |line| drop((&file).write_all(line))),
        None => Arc::new(|line| drop(std::io::stderr().write_all(line))),
    };
    let sink = Sink { format, trace, write };
    let subscriber = tracing_subscriber::registry().with(sink.with_filter(filter));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Takes whole lines.
type Write = dyn Fn(&[u8]) + Send + Sync;

/// Writes each event as one line.
struct Sink {
    format: LogFormat,
    trace: TraceId,
    write: Arc<Write>,
}

/// Fields of a span or event, in order.
#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let secret = SECRET_WORDS.iter().any(|word| name.to_ascii_lowercase().contains(word));
        self.0.insert(name.to_owned(), if secret { "[redacted]".into() } else { value.into() });
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Sink {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.shift_remove("message").map_or_else(String::new, plain);
        let mut spans = Vec::new();
        for span in context.event_scope(event).into_iter().flatten() {
            spans.push(span.name());
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.0 {
                    fields.0.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        spans.reverse();
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let time = jiff::Timestamp::now().round(jiff::Unit::Millisecond).unwrap_or_else(|_| jiff::Timestamp::now());
        let line = match self.format {
            LogFormat::Plain => {
                let mut line = format!("{time} {level:<5} {target}: {}", escape::line(&message));
                for (name, value) in fields.0 {
                    line.push_str(&format!(" {name}={}", escape::line(&plain(value))));
                }
                line.push_str(&format!(" trace={}\n", self.trace));
                line.into_bytes()
            }
            LogFormat::Json => {
                let mut object = Map::new();
                object.insert("time".into(), time.to_string().into());
                object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
                object.insert("target".into(), target.into());
                object.insert("message".into(), message.into());
                object.insert("trace".into(), self.trace.to_string().into());
                object.insert("spans".into(), spans.into());
                object.insert("fields".into(), fields.0.into());
                let mut line = Vec::new();
                if escape::write_json(&mut line, &object).is_err() {
                    return;
                }
                line.push(b'\n');
                line
            }
        };
        (self.write)(&line);
    }
}

fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::tests::HOSTILE;
    use std::sync::Mutex;

    fn logged(format: LogFormat, filter: &str, work: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&written);
        let write = Arc::new(move |line: &[u8]| into.lock().unwrap().extend_from_slice(line));
        let sink = Sink { format, trace: TraceId([7; 16]), write };
        let subscriber = tracing_subscriber::registry().with(sink.with_filter(parse_filter(filter).unwrap()));
        tracing::subscriber::with_default(subscriber, work);
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_line_has_its_trace_and_the_fields_of_its_spans() {
        let line = logged(LogFormat::Json, "info", || {
            let span = tracing::info_span!("command", cmd = "commit");
            let _entered = span.enter();
            tracing::info!(files = 3_u64, "packed");
        });
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["trace"], "07".repeat(16));
        assert_eq!(value["message"], "packed");
        assert_eq!(value["fields"], serde_json::json!({"files": 3, "cmd": "commit"}));
        assert_eq!(value["spans"], serde_json::json!(["command"]));
    }

    #[test]
    fn secrets_stay_out_of_both_formats() {
        const CANARY: &str = "canary-5f3a";
        for format in [LogFormat::Plain, LogFormat::Json] {
            let text = logged(format, "trace", || {
                let span = tracing::info_span!("open", passphrase = CANARY, key_passphrase = ?CANARY);
                let _entered = span.enter();
                tracing::warn!(token = CANARY, API_SECRET = CANARY, "opened");
                tracing::warn!(passphrase = ?shard_crypto::Passphrase::new(CANARY.to_owned()), "debug");
                tracing::warn!(value = ?shard_crypto::Passphrase::new(CANARY.to_owned()), "debug");
            });
            assert!(text.contains("[redacted]") && text.contains("opened"), "{text}");
            assert!(!text.contains(CANARY), "{text}");
        }
    }

    #[test]
    fn hostile_text_is_inert_in_both_formats() {
        for text in HOSTILE {
            for format in [LogFormat::Plain, LogFormat::Json] {
                let line = logged(format, "info", || tracing::info!(path = text, other = ?text, "{text}"));
                assert_eq!(line.matches('\n').count(), 1, "{text:?}");
                let hostile = line.trim_end_matches('\n').chars().any(escape::is_hostile);
                assert!(!hostile, "{text:?} became {line:?}");
            }
        }
    }

    #[test]
    fn filters_choose_by_level_and_target() {
        let text = logged(LogFormat::Plain, "warn,shard_cli::logging=debug", || {
            tracing::debug!("kept");
            tracing::debug!(target: "elsewhere", "dropped");
        });
        assert!(text.contains("kept") && !text.contains("dropped"), "{text}");
        assert!(parse_filter("loud").is_err());
    }
}
