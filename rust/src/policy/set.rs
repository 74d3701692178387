//! A set of policies: parsed, named, validated and described.

use super::source::{check_depth, position, statements, Messages};
use super::{read, store, COUNT_MAX, TEXT_BYTES_MAX};
use crate::ffi::{entry, Failure, RustBuffer, RustCode, RustSlice};
use cedar_policy::{
    ActionConstraint, Effect, Policy, PolicyId, PolicySet, PrincipalConstraint, Schema,
    ValidationMode, Validator,
};
use cedar_policy_core::ast;
use serde_json::{json, Value};
use std::collections::{BTreeSet, HashMap};
use std::sync::Once;

pub struct RustPolicySet {
    pub schema: Option<Schema>,
    pub policies: Vec<Policy>,
    /// Of each policy, what is left to ask once principal and action are known to be in its scope.
    pub conditions: Vec<ast::Expr>,
    pub whole: PolicySet,
    /// The place of each policy in `policies`.
    pub places: HashMap<PolicyId, usize>,
}

pub fn warm_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let policies = r#"permit(principal, action, resource) when { ip("::1").isLoopback() };"#;
        let _ = parse("entity A; action a appliesTo { principal: A, resource: A };", policies);
    });
}

/// A name of letters, digits and . _ -, at most 64 of them: it goes into logs and audit leaves.
fn is_rule_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn parse_schema(text: &str) -> Result<(Schema, String), Failure> {
    let mut messages = Messages::new("schema", text);
    if let Err(at) = check_depth(text, true) {
        messages.add(Some(at), "brackets are nested too deep");
        return Err(Failure::invalid(messages.text()));
    }
    match Schema::from_cedarschema_str(text) {
        Ok((schema, warnings)) => {
            for warning in warnings {
                messages.add_diagnostic(0, None, &warning);
            }
            Ok((schema, messages.text()))
        }
        Err(error) => {
            messages.add_diagnostic(0, None, &error);
            for related in miette::Diagnostic::related(&error).into_iter().flatten() {
                messages.add_diagnostic(0, None, related);
            }
            Err(Failure::invalid(messages.text()))
        }
    }
}

/// The policies with their offsets in the text.
fn parse_policies(text: &str) -> Result<Vec<(usize, Policy)>, Failure> {
    let mut messages = Messages::new("policies", text);
    let fail = |mut messages: Messages, at: usize, message: &str| {
        messages.add(Some(at), message);
        Err(Failure::invalid(messages.text()))
    };
    if let Err(at) = check_depth(text, false) {
        return fail(messages, at, "brackets are nested too deep");
    }
    let ranges = match statements(text) {
        Ok(ranges) => ranges,
        Err(at) => return fail(messages, at, "the policy that begins here is too long: split it"),
    };
    if ranges.len() > COUNT_MAX {
        return fail(messages, ranges[COUNT_MAX].start, "too many policies in one set");
    }
    let mut policies: Vec<(usize, Policy)> = Vec::with_capacity(ranges.len());
    let mut seen = BTreeSet::new();
    for (place, range) in ranges.into_iter().enumerate() {
        let start = range.start;
        match Policy::parse(Some(PolicyId::new(format!("policy{place}"))), &text[range]) {
            Ok(policy) => {
                let id = policy.annotation("id").map(str::to_owned);
                let id = id.unwrap_or_else(|| format!("policy{place}"));
                if !is_rule_id(&id) {
                    messages.add(Some(start), "@id must be 1 to 64 letters, digits, '.', '_', '-'");
                } else if !seen.insert(id.clone()) {
                    messages.add(Some(start), &format!("a policy before this has the id {id}"));
                }
                policies.push((start, policy.new_id(PolicyId::new(id))));
            }
            Err(errors) => {
                for error in errors.iter() {
                    messages.add_diagnostic(start, Some(start), error);
                }
            }
        }
    }
    if messages.is_empty() {
        Ok(policies)
    } else {
        Err(Failure::invalid(messages.text()))
    }
}

/// Warnings, or errors.
fn validate(
    schema: &Schema,
    whole: &PolicySet,
    text: &str,
    offsets: &HashMap<PolicyId, usize>,
) -> Result<String, Failure> {
    let result = Validator::new(schema.clone()).validate(whole, ValidationMode::Strict);
    let offset = |id: &PolicyId| offsets.get(id).copied();
    let mut messages = Messages::new("policies", text);
    let mut errors: Vec<_> = result.validation_errors().collect();
    errors.sort_by_key(|error| offset(error.policy_id()));
    for error in &errors {
        let at = offset(error.policy_id());
        messages.add_diagnostic(at.unwrap_or(0), at, *error);
    }
    if !errors.is_empty() {
        return Err(Failure::invalid(messages.text()));
    }
    let mut warnings: Vec<_> = result.validation_warnings().collect();
    warnings.sort_by_key(|warning| offset(warning.policy_id()));
    for warning in warnings {
        let at = offset(warning.policy_id());
        messages.add_diagnostic(at.unwrap_or(0), at, warning);
    }
    Ok(messages.text())
}

/// Adds the attributes of `context` that a policy mentions. False if it uses the record itself.
fn mentioned(expression: &Value, names: &mut BTreeSet<String>) -> bool {
    let is_context = |value: &Value| value.get("Var").and_then(Value::as_str) == Some("context");
    match expression {
        Value::Object(members) => members.iter().all(|(operator, operand)| {
            let of_context = operand.get("left").is_some_and(is_context);
            match operand.get("attr") {
                Some(Value::String(name)) if of_context && (operator == "." || operator == "has") => {
                    names.insert(name.clone());
                    true
                }
                _ => (operator != "Var" || operand != "context") && mentioned(operand, names),
            }
        }),
        Value::Array(items) => items.iter().all(|item| mentioned(item, names)),
        _ => true,
    }
}

fn scope(policy: &Policy) -> (Value, Value) {
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => json!({"op": "any"}),
        PrincipalConstraint::In(uid) => json!({"op": "in", "entity": uid.to_string()}),
        PrincipalConstraint::Eq(uid) => json!({"op": "eq", "entity": uid.to_string()}),
        PrincipalConstraint::Is(name) => json!({"op": "is", "type": name.to_string()}),
        PrincipalConstraint::IsIn(name, uid) => {
            json!({"op": "is_in", "type": name.to_string(), "entity": uid.to_string()})
        }
    };
    let action = match policy.action_constraint() {
        ActionConstraint::Any => json!({"op": "any"}),
        ActionConstraint::Eq(uid) => json!({"op": "eq", "entities": [uid.to_string()]}),
        ActionConstraint::In(uids) => {
            let uids: Vec<String> = uids.iter().map(ToString::to_string).collect();
            json!({"op": "in", "entities": uids})
        }
    };
    (principal, action)
}

fn describe(text: &str, policies: &[(usize, Policy)], warnings: &str) -> Result<String, Failure> {
    let mut names = BTreeSet::new();
    let mut by_name = true;
    let mut rules = Vec::with_capacity(policies.len());
    for (start, policy) in policies {
        let tree = policy.to_json().map_err(|_| Failure::internal("a policy without JSON form"))?;
        by_name &= tree.get("conditions").is_none_or(|parts| mentioned(parts, &mut names));
        let (line, column) = position(text, *start);
        let (principal, action) = scope(policy);
        let annotations: serde_json::Map<String, Value> =
            policy.annotations().map(|(key, value)| (key.into(), value.into())).collect();
        rules.push(json!({
            "id": AsRef::<str>::as_ref(policy.id()),
            "effect": if policy.effect() == Effect::Permit { "permit" } else { "forbid" },
            "annotations": annotations,
            "line": line,
            "column": column,
            "text": policy.to_cedar(),
            "principal": principal,
            "action": action,
        }));
    }
    let context = by_name.then_some(names);
    Ok(json!({"policies": rules, "context": context, "warnings": warnings}).to_string())
}

/// The resource's scope, when and unless. Evaluating the rest of the scope, too, takes half as long
/// again.
fn condition(policy: &ast::Policy) -> ast::Expr {
    let resource = policy.resource_constraint().as_expr();
    match policy.non_scope_constraints() {
        None => resource,
        Some(rest) if resource == ast::Expr::val(true) => rest.clone(),
        Some(rest) => ast::Expr::and(resource, rest.clone()),
    }
}

fn parse(schema: &str, policies: &str) -> Result<(RustPolicySet, String), Failure> {
    let parsed = if schema.is_empty() { None } else { Some(parse_schema(schema)?) };
    let placed = parse_policies(policies)?;
    let mut whole = PolicySet::new();
    let mut places = HashMap::new();
    let mut offsets = HashMap::new();
    for (place, (start, policy)) in placed.iter().enumerate() {
        places.insert(policy.id().clone(), place);
        offsets.insert(policy.id().clone(), *start);
        whole.add(policy.clone()).map_err(|_| Failure::internal("a policy that has no place"))?;
    }
    let (schema, mut warnings) = parsed.map_or((None, String::new()), |(s, w)| (Some(s), w));
    if let Some(schema) = &schema {
        let found = validate(schema, &whole, policies, &offsets)?;
        if !found.is_empty() && !warnings.is_empty() {
            warnings.push('\n');
        }
        warnings.push_str(&found);
    }
    let description = describe(policies, &placed, &warnings)?;
    let policies: Vec<Policy> = placed.into_iter().map(|(_, policy)| policy).collect();
    let conditions = policies.iter().map(|policy| condition(policy.as_ref())).collect();
    Ok((RustPolicySet { schema, policies, conditions, whole, places }, description))
}

/// # Safety
/// As `include/rust/policy.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustPolicySetNew(
    schema: RustSlice,
    policies: RustSlice,
    set: *mut *mut RustPolicySet,
    description: *mut RustBuffer,
    error: *mut RustBuffer,
) -> RustCode {
    let work = || {
        let schema = unsafe { schema.text() }?.to_owned();
        let policies = unsafe { policies.text() }?.to_owned();
        for (name, text) in [("schema", &schema), ("policies", &policies)] {
            if text.len() > TEXT_BYTES_MAX {
                return Err(Failure::invalid(format!("{name}: more than {TEXT_BYTES_MAX} bytes")));
            }
        }
        let (parsed, text) = read(move || parse(&schema, &policies))?;
        unsafe { store(description, text.into()) };
        Ok(Box::into_raw(Box::new(parsed)))
    };
    unsafe { entry(set, error, work) }
}

/// # Safety
/// `set` came from RustPolicySetNew and was not freed.
#[no_mangle]
pub unsafe extern "C" fn RustPolicySetFree(set: *mut RustPolicySet) {
    if !set.is_null() {
        drop(unsafe { Box::from_raw(set) });
    }
}
