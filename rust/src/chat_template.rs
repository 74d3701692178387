//! Chat templates: minijinja set up as `transformers` sets up Jinja2.

use crate::ffi::{entry, Failure, RustBuffer, RustCode, RustSlice};
use crate::python;
use crate::sandbox::{self, Outcome};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Calls of macros and blocks within one another.
const RECURSION_MAX: usize = 100;
/// A template whose rendering was stopped this often is not rendered again (see `sandbox`).
const STOPPED_MAX: u32 = 4;
const COMPILE_MEMORY_BYTES: u64 = 64 << 20;
const COMPILE_TIMEOUT: Duration = Duration::from_secs(20);
const MESSAGE_CHARACTERS_MAX: usize = 300;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustTemplateLimits {
    fuel: u64,
    memory_bytes: u64,
    output_bytes: u64,
    timeout_millis: u64,
}

pub struct RustTemplate {
    environment: Arc<Environment<'static>>,
    stopped: AtomicU32,
}

const NAME: &str = "chat_template";

/// Compiling evaluates constant expressions, so it is bounded too.
fn compile(source: &str) -> Result<RustTemplate, Failure> {
    let source = without_generation_tags(source);
    let outcome = sandbox::run(COMPILE_MEMORY_BYTES, COMPILE_TIMEOUT, move || environment(source));
    let environment = match outcome {
        Outcome::Done(result) => result?,
        Outcome::Stopped(failure) => return Err(failure),
    };
    Ok(RustTemplate { environment: Arc::new(environment), stopped: AtomicU32::new(0) })
}

fn environment(source: String) -> Result<Environment<'static>, Failure> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(print);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", text_of);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_template_owned(NAME, source).map_err(failure)?;
    Ok(environment)
}

fn raise_exception(message: &str) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("the template says: {message}")))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    python::strftime(format, now as i64)
}

fn print(out: &mut Output, _: &State, value: &Value) -> Result<(), Error> {
    out.write_str(&text_of(value)?).map_err(Error::from)
}

fn text_of(value: &Value) -> Result<String, Error> {
    use minijinja::value::ValueKind;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => python::repr(value),
        ValueKind::Number => Ok(python::number(value)),
        _ => Ok(value.to_string()),
    }
}

/// `transformers` knows the tags `generation` and `endgeneration`, which mark the model's own text
/// and print nothing: `if true` and `endif` do the same with the same rules for spaces.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        text.push_str(before);
        let word = tag.trim_start_matches(['-', '+']).trim_start();
        let lead = tag.len() - word.len();
        text.push_str(&tag[..lead]);
        rest = word;
        for (name, instead) in [("generation", "if true"), ("endgeneration", "endif")] {
            if let Some(after) = word.strip_prefix(name) {
                if after.trim_start().trim_start_matches(['-', '+']).starts_with("%}") {
                    text.push_str(instead);
                    rest = after;
                }
            }
        }
    }
    text.push_str(rest);
    text
}

fn failure(error: Error) -> Failure {
    let mut message = error.to_string();
    if let Some(line) = error.line() {
        if !message.contains("(in ") {
            message.push_str(&format!(" (line {line})"));
        }
    }
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        message.truncate(end);
    }
    if error.kind() == ErrorKind::OutOfFuel {
        Failure::exhausted(message)
    } else {
        Failure::invalid(message)
    }
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8], what: &str) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Failure::invalid(format!("{what} (line {line}, column {column})"))
    })
}

type JsonObject = serde_json::Map<String, serde_json::Value>;

fn context(variables: &[u8], tools: &[u8], extra: &[u8]) -> Result<JsonObject, Failure> {
    let mut context: JsonObject = parse(variables, "the variables are not a JSON object")?;
    if !tools.is_empty() {
        let tools: Vec<serde_json::Value> = parse(tools, "the tools are not a JSON array")?;
        context.insert("tools".to_string(), tools.into());
    }
    if !extra.is_empty() {
        let extra: JsonObject = parse(extra, "the further variables are not a JSON object")?;
        context.extend(extra);
    }
    Ok(context)
}

/// Text up to a bound.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(std::io::Error::other)?;
        if self.text.len() + text.len() > self.bytes_max {
            return Err(std::io::Error::other("the output is full"));
        }
        self.text.push_str(text);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn render(
    environment: &Environment,
    limits: &RustTemplateLimits,
    variables: &[u8],
    tools: &[u8],
    extra: &[u8],
) -> Result<String, Failure> {
    let context = context(variables, tools, extra)?;
    let mut environment = environment.clone();
    environment.set_fuel(Some(limits.fuel));
    let template = environment.get_template(NAME).map_err(failure)?;
    let mut output = Bounded { text: String::new(), bytes_max: limits.output_bytes as usize };
    let rendered = template.render_captured_to(context, &mut output).map(|_| ());
    match rendered {
        Ok(()) => Ok(output.text),
        Err(error) if error.kind() == ErrorKind::WriteFailure => {
            Err(Failure::exhausted("the rendered prompt is longer than it may be"))
        }
        Err(error) => Err(failure(error)),
    }
}

/// # Safety
/// The pointers are valid as `text.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustTemplateNew(
    source: RustSlice,
    chat_template: *mut *mut RustTemplate,
    error: *mut RustBuffer,
) -> RustCode {
    unsafe {
        entry(chat_template, error, || Ok(Box::into_raw(Box::new(compile(source.text()?)?))))
    }
}

/// # Safety
/// `chat_template` came from RustTemplateNew and is not used after.
#[no_mangle]
pub unsafe extern "C" fn RustTemplateFree(chat_template: *mut RustTemplate) {
    let _ = crate::ffi::catch(|| {
        drop(unsafe { Box::from_raw(chat_template) });
        Ok(())
    });
}

/// # Safety
/// The pointers are valid as `text.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustTemplateRender(
    chat_template: *const RustTemplate,
    variables: RustSlice,
    tools: RustSlice,
    extra: RustSlice,
    limits: *const RustTemplateLimits,
    text: *mut RustBuffer,
    error: *mut RustBuffer,
) -> RustCode {
    let work = || {
        let chat_template = unsafe { &*chat_template };
        if chat_template.stopped.load(Ordering::Relaxed) >= STOPPED_MAX {
            return Err(Failure::exhausted("the template was stopped too often to be tried again"));
        }
        let limits = unsafe { *limits };
        let environment = chat_template.environment.clone();
        // The thread may outlive this call: it gets copies.
        let inputs = [variables, tools, extra].map(|json| unsafe { json.bytes() }.to_vec());
        let timeout = Duration::from_millis(limits.timeout_millis);
        let outcome = sandbox::run(limits.memory_bytes, timeout, move || {
            render(&environment, &limits, &inputs[0], &inputs[1], &inputs[2])
        });
        match outcome {
            Outcome::Done(result) => result,
            Outcome::Stopped(failure) => {
                chat_template.stopped.fetch_add(1, Ordering::Relaxed);
                Err(failure)
            }
        }
    };
    unsafe { entry(text, error, work) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_conditions() {
        let source = "{% generation %}a{%- endgeneration -%}b{% set generation = 1 %}{{ generation }}";
        let text = without_generation_tags(source);
        assert_eq!(text, "{% if true %}a{%- endif -%}b{% set generation = 1 %}{{ generation }}");
    }
}
