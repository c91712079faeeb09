//! Printing answers and failures: the JSON envelope, or text for a person.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value};

use shard_core::repository::config::key;

use crate::escape;
use crate::failure::{Code, Failure, Hint, Result, hint};
use crate::invocation::Invocation;
use crate::logging::TraceId;
use crate::page::{Page, bad, bold, dim, plain, warn};
use crate::terminal::Terminal;
use crate::view::{self, View, Warning};

/// Version of the envelope.
pub const VERSION: u32 = 1;

/// Most warnings written one by one for a person; programs get all of them.
const MAX_WARNINGS: usize = 20;

/// Checks the fields named by `--json=FIELDS` before anything is done.
///
/// # Errors
/// `usage`, listing the known fields.
pub fn check_fields(fields: &[String], command: &str) -> Result<()> {
    let wanted = wanted(fields);
    if wanted.is_empty() {
        return Ok(());
    }
    let known = view::fields(command);
    match wanted.iter().find(|field| !known.iter().any(|one| one == *field)) {
        None => Ok(()),
        Some(field) => {
            let verb = command.replace('.', " ");
            let text = format!("`{verb}` answers without a field `{field}`; it has {}", known.join(", "));
            Err(Failure::usage(text).detail("field", *field).detail("known", known).hint(hint::schema(&verb)))
        }
    }
}

/// Returns the fields to keep; none means all.
fn wanted(fields: &[String]) -> Vec<&str> {
    fields.iter().map(|field| field.trim()).filter(|field| !field.is_empty()).collect()
}

/// Prints an answer and returns the exit code of the process.
///
/// # Errors
/// When standard output cannot be written; a closed pipe among them.
pub fn success(invocation: &Invocation, answer: &dyn View, terminal: &mut dyn Terminal) -> io::Result<u8> {
    invocation.progress.clear();
    if invocation.is_json() {
        write_success(invocation, answer, terminal.out())?;
        terminal.flush()?;
        return Ok(answer.exit());
    }
    let shape = terminal.shape();
    let mut page = Page::new(shape.output).quiet(invocation.global.quiet);
    answer.render(&mut page);
    if answer.is_paged() {
        terminal.page(page.text())?;
    } else {
        terminal.out().write_all(page.text().as_bytes())?;
    }
    terminal.flush()?;

    let warnings = answer.warnings();
    let mut notes = Page::new(shape.error);
    for warning in warnings.iter().take(MAX_WARNINGS) {
        write_warning(&mut notes, warning);
    }
    if warnings.len() > MAX_WARNINGS {
        let rest = warnings.len() - MAX_WARNINGS;
        notes.line([warn("warning"), plain(format!(": and {rest} more; --json names them all"))]);
    }
    if shape.error && !invocation.global.quiet && invocation.config.get(key::UI_HINTS) {
        for hint in answer.next() {
            write_hint(&mut notes, "next", &hint);
        }
    }
    // The answer has been given: a closed error stream takes nothing back.
    let _ = terminal.err().write_all(notes.text().as_bytes());
    Ok(answer.exit())
}

fn write_warning(page: &mut Page, warning: &Warning) {
    let path = warning.path.as_deref().map(|path| format!("{path}: ")).unwrap_or_default();
    page.line([warn("warning"), dim(format!("[{}]", warning.code)), plain(format!(": {path}{}", warning.message))]);
}

fn write_hint(page: &mut Page, label: &'static str, hint: &Hint) {
    page.line([plain("  "), dim(format!("{label}: ")), bold(&*hint.run), dim(format!("  # {}", hint.why))]);
}

fn write_success(invocation: &Invocation, answer: &dyn View, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "{{\"v\":{VERSION},\"cmd\":\"{}\",\"ok\":true,\"data\":", invocation.command)?;
    let fields = wanted(invocation.global.json.as_deref().unwrap_or_default());
    if fields.is_empty() {
        answer.write_json(out)?;
    } else {
        escape::write_json(out, &select(answer.to_json()?, &fields))?;
    }
    out.write_all(b",\"warnings\":")?;
    escape::write_json(out, &answer.warnings())?;
    out.write_all(b",\"next\":")?;
    let next: Vec<String> = answer.next().into_iter().map(|hint| hint.run).collect();
    escape::write_json(out, &next)?;
    writeln!(out, ",\"trace\":\"{}\"}}", invocation.trace)
}

/// Keeps the named fields of the items of a list, or of the data.
fn select(data: Value, fields: &[&str]) -> Value {
    let keep = |object: Map<String, Value>| {
        let mut object = object;
        fields.iter().filter_map(|field| object.shift_remove_entry(*field)).collect::<Map<_, _>>()
    };
    match data {
        Value::Object(mut object) => match object.get_mut("items") {
            Some(Value::Array(items)) => {
                for item in items.iter_mut() {
                    if let Value::Object(fields) = item.take() {
                        *item = Value::Object(keep(fields));
                    }
                }
                Value::Object(object)
            }
            _ => Value::Object(keep(object)),
        },
        other => other,
    }
}

#[derive(Serialize)]
struct ErrorEnvelope<'a> {
    v: u32,
    cmd: &'a str,
    ok: bool,
    trace: String,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    exit: u8,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    details: &'a Map<String, Value>,
    hints: &'a [Hint],
}

/// Prints a failure: on standard output with `json`, else on standard error. Returns the exit code of the process.
///
/// # Errors
/// When the stream cannot be written.
pub fn failure(
    failure: &Failure,
    command: &str,
    trace: TraceId,
    json: bool,
    terminal: &mut dyn Terminal,
) -> io::Result<u8> {
    if json {
        let retry_after_ms = failure.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        let envelope = ErrorEnvelope {
            v: VERSION,
            cmd: command,
            ok: false,
            trace: trace.to_string(),
            error: ErrorBody {
                code: failure.code.as_str(),
                exit: failure.exit(),
                message: &failure.message,
                retryable: failure.code.retryable(),
                retry_after_ms,
                details: &failure.details,
                hints: &failure.hints,
            },
        };
        let out = terminal.out();
        escape::write_json(out, &envelope)?;
        out.write_all(b"\n")?;
    } else {
        let _ = terminal.flush();
        let mut page = Page::new(terminal.shape().error);
        page.line([bad(format!("error[{}]", failure.code)), plain(format!(": {}", failure.message))]);
        write_listed(&mut page, failure);
        for hint in &failure.hints {
            write_hint(&mut page, "hint", hint);
        }
        terminal.err().write_all(page.text().as_bytes())?;
    }
    terminal.flush()?;
    Ok(failure.exit())
}

/// Lists beneath a message the paths that stop a checkout, or that were left out, each with its reason.
fn write_listed(page: &mut Page, failure: &Failure) {
    let (list, reason) = match failure.code {
        Code::WorktreeDirty => ("blocked", "reason"),
        Code::CommitEmpty => ("skipped", "code"),
        _ => return,
    };
    let rows = failure.details.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for row in rows.iter().take(MAX_WARNINGS) {
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        page.line([plain("  "), plain(text("path")), dim(format!("  {}", text(reason)))]);
    }
    if rows.len() > MAX_WARNINGS {
        page.line([dim(format!("  and {} more", rows.len() - MAX_WARNINGS))]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Global;
    use crate::escape::tests::HOSTILE;
    use crate::invocation::Environment;
    use crate::terminal::Recorded;
    use crate::view::{Skipped, Version};
    use serde_json::json;
    use utoipa::ToSchema;

    #[derive(Serialize, ToSchema)]
    struct Sample {
        items: Vec<Value>,
        skipped: Vec<Skipped>,
    }

    impl View for Sample {
        fn render(&self, page: &mut Page) {
            for item in &self.items {
                page.table(&[vec![plain(item["path"].as_str().unwrap_or_default()), plain("x")]]);
            }
        }

        fn warnings(&self) -> Vec<Warning> {
            view::skipped_warnings(&self.skipped)
        }

        fn next(&self) -> Vec<Hint> {
            vec![hint::status()]
        }
    }

    fn invocation(json: Option<&str>) -> Invocation {
        let fields = json.map(|fields| fields.split(',').map(str::to_owned).collect());
        let global = Global { json: fields, ..Global::default() };
        Invocation::new(global, Environment::default(), "ls", Recorded::pipes().shape()).unwrap()
    }

    fn sample(path: &str) -> Sample {
        Sample { items: vec![json!({"path": path, "size": 1})], skipped: vec![] }
    }

    fn printed(json: Option<&str>, sample: &Sample) -> (u8, Value) {
        let mut terminal = Recorded::pipes();
        let exit = success(&invocation(json), sample, &mut terminal).unwrap();
        (exit, serde_json::from_slice(&terminal.output).unwrap())
    }

    #[test]
    fn an_answer_is_one_document_that_validates() {
        let (exit, value) = printed(Some(""), &sample("a"));
        assert_eq!(exit, 0);
        let keys: Vec<_> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["v", "cmd", "ok", "data", "warnings", "next", "trace"]);
        assert_eq!((&value["v"], &value["cmd"], &value["ok"]), (&json!(1), &json!("ls"), &json!(true)));
        assert_eq!(value["next"], json!(["shard status"]));
        let schema = jsonschema::validator_for(&view::document(None).unwrap().unwrap()).unwrap();
        assert!(schema.is_valid(&value), "{value}");
    }

    #[test]
    fn what_was_skipped_is_named_and_ends_in_nine() {
        let skipped = vec![Skipped { path: "a".into(), code: "file.unreadable".into() }];
        let (exit, value) = printed(Some(""), &Sample { items: vec![], skipped: skipped.clone() });
        assert_eq!((exit, &value["ok"]), (9, &json!(true)));
        assert_eq!(value["warnings"][0]["code"], "file.unreadable");
        assert_eq!(value["warnings"][0]["path"], "a");

        let mut terminal = Recorded::pipes();
        let exit = success(&invocation(None), &Sample { items: vec![], skipped }, &mut terminal).unwrap();
        assert_eq!(exit, 9);
        assert!(terminal.shown_errors().starts_with("warning[file.unreadable]: a: "), "{}", terminal.shown_errors());
    }

    #[test]
    fn fields_are_kept_in_the_order_asked() {
        let (_, value) = printed(Some("size"), &sample("a"));
        assert_eq!(value["data"]["items"], json!([{"size": 1}]));
        assert_eq!(select(json!({"a": 1, "b": 2}), &["b", "a"]).to_string(), r#"{"b":2,"a":1}"#);
    }

    #[test]
    fn an_unknown_field_lists_the_known_ones() {
        assert!(check_fields(&["version".into(), " json".into(), String::new()], "version").is_ok());
        let failure = check_fields(&["versoin".into()], "version").unwrap_err();
        assert_eq!(failure.exit(), 2);
        assert_eq!(failure.details["known"], json!(["version", "json", "target"]));
        assert!(check_fields(&["path".into()], "ls").is_ok(), "fields of a list are those of its items");
    }

    #[test]
    fn a_failure_is_one_document_that_validates() {
        let mut terminal = Recorded::pipes();
        let error = Failure::from(shard_core::Error::BackendBusy { pid: Some(7) });
        let exit = super::failure(&error, "commit", TraceId::random(), true, &mut terminal).unwrap();
        let value: Value = serde_json::from_slice(&terminal.output).unwrap();
        assert_eq!(exit, 5);
        assert_eq!(value["error"]["code"], "repository.busy");
        assert_eq!(value["error"]["exit"], 5);
        assert_eq!(value["error"]["retryable"], true);
        assert_eq!(value["error"]["retry_after_ms"], 1000);
        assert_eq!(value["error"]["details"]["pid"], 7);
        assert!(value["error"]["hints"][0]["run"].as_str().unwrap().starts_with("shard "));
        let schema = jsonschema::validator_for(&view::document(None).unwrap().unwrap()).unwrap();
        assert!(schema.is_valid(&value), "{value}");
        assert!(terminal.errors.is_empty());
    }

    #[test]
    fn a_failure_for_people_names_its_code_and_hints() {
        let mut terminal = Recorded::pipes();
        let error = Failure::from(shard_core::Error::RevisionNotFound {
            revision: "@~9".into(),
            reason: Some("history has 2".into()),
            suggestions: vec![],
        });
        let exit = super::failure(&error, "log", TraceId::random(), false, &mut terminal).unwrap();
        assert_eq!(exit, 3);
        assert_eq!(
            terminal.shown_errors(),
            "error[revision.not_found]: no revision `@~9`: history has 2\n  hint: shard log  # lists the commits\n"
        );
    }

    #[test]
    fn hostile_text_is_inert_in_every_renderer() {
        for text in HOSTILE {
            for json in [None, Some("")] {
                for mut terminal in [Recorded::pipes(), Recorded::screen()] {
                    let mut sample = sample(text);
                    sample.skipped = vec![Skipped { path: text.into(), code: text.into() }];
                    success(&invocation(json), &sample, &mut terminal).unwrap();
                    let error = Failure::from(shard_core::Error::PathNotFound { path: text.into() });
                    super::failure(&error, "ls", TraceId::random(), json.is_some(), &mut terminal).unwrap();
                    for shown in [terminal.shown(), terminal.shown_errors()] {
                        let left: Vec<char> =
                            shown.chars().filter(|&c| escape::is_hostile(c) && c != '\n' && c != '\t').collect();
                        assert!(left.is_empty(), "{text:?} left {left:?} in {shown}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_answer_of_version_validates_against_its_schema() {
        let answer = Version { version: "1".into(), json: 1, target: "x".into() };
        let schema = view::document(Some("version")).unwrap().unwrap();
        assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&view::Json::to_json(&answer).unwrap()));
    }
}
