//! One request against some policies of a set, and against the whole of it.

use super::entities::RustPolicyEntities;
use super::set::RustPolicySet;
use super::store;
use crate::ffi::{elements, Failure, RustBuffer, RustCode, RustSlice};
use cedar_policy::{AuthorizationError, Authorizer, Decision, EntityUid, PolicyId};
use cedar_policy_core::ast::{self, RequestSchema};
use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::validator::{RequestValidationError, ValidatorSchema};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

#[repr(C)]
#[derive(Clone, Copy)]
#[allow(dead_code)] // made in C
pub enum RustPolicyKind {
    Bool = 0,
    Long = 1,
    String = 2,
    Ip = 3,
    Decimal = 4,
    Datetime = 5,
    // Of these types, and no policy reads the value.
    UnreadIp = 6,
    UnreadDecimal = 7,
    UnreadDatetime = 8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RustPolicyAttribute {
    name: RustSlice,
    kind: RustPolicyKind,
    integer: i64,
    text: RustSlice,
}

#[repr(C)]
pub struct RustPolicyRequest {
    principal: u32,
    action: u32,
    resource: u32,
    context: *const RustPolicyAttribute,
    context_count: usize,
}

const UNSATISFIED: u8 = 0;
const SATISFIED: u8 = 1;
const ERRED: u8 = 2;

static IP: LazyLock<ast::Name> = LazyLock::new(|| name("ip"));
static DECIMAL: LazyLock<ast::Name> = LazyLock::new(|| name("decimal"));
static DATETIME: LazyLock<ast::Name> = LazyLock::new(|| name("datetime"));

// What stands for a value that nobody reads: reading text takes longer than a rule.
static SOME_IP: LazyLock<Option<ast::Value>> = LazyLock::new(|| extension(&IP, "0.0.0.0"));
static SOME_DECIMAL: LazyLock<Option<ast::Value>> = LazyLock::new(|| extension(&DECIMAL, "0.0"));
static SOME_DATETIME: LazyLock<Option<ast::Value>> =
    LazyLock::new(|| extension(&DATETIME, "1970-01-01"));

fn name(text: &str) -> ast::Name {
    ast::Name::parse_unqualified_name(text).expect("a name of the language")
}

fn extension(constructor: &ast::Name, text: &str) -> Option<ast::Value> {
    let function = Extensions::all_available().func(constructor).ok()?;
    match function.call(&[ast::Value::from(text)]).ok()? {
        ast::PartialValue::Value(value) => Some(value),
        ast::PartialValue::Residual(_) => None,
    }
}

/// # Safety
/// The attribute's slices are valid.
unsafe fn value(attribute: &RustPolicyAttribute) -> Result<ast::Value, Failure> {
    let text = || unsafe { attribute.text.text() };
    let value = match attribute.kind {
        RustPolicyKind::Bool => Some((attribute.integer != 0).into()),
        RustPolicyKind::Long => Some(attribute.integer.into()),
        RustPolicyKind::String => Some(text()?.into()),
        RustPolicyKind::Ip => extension(&IP, text()?),
        RustPolicyKind::Decimal => extension(&DECIMAL, text()?),
        RustPolicyKind::Datetime => extension(&DATETIME, text()?),
        RustPolicyKind::UnreadIp => SOME_IP.clone(),
        RustPolicyKind::UnreadDecimal => SOME_DECIMAL.clone(),
        RustPolicyKind::UnreadDatetime => SOME_DATETIME.clone(),
    };
    // What the crate says would quote the value.
    value.ok_or_else(|| Failure::invalid("an attribute of the context is not what its kind says"))
}

/// What the schema's check of a request depends on: its entities, and the names and types of its
/// context, never the values of these.
fn shape(
    request: &RustPolicyRequest,
    attributes: &[RustPolicyAttribute],
) -> Result<Vec<u8>, Failure> {
    let mut shape = Vec::with_capacity(128);
    for entity in [request.principal, request.action, request.resource] {
        shape.extend_from_slice(&entity.to_ne_bytes());
    }
    for attribute in attributes {
        let name = unsafe { attribute.name.bytes() };
        let size = u32::try_from(name.len()).map_err(|_| Failure::invalid("a name too long"))?;
        shape.extend_from_slice(&size.to_ne_bytes());
        shape.extend_from_slice(name);
        shape.push(attribute.kind as u8);
    }
    Ok(shape)
}

fn check(request: &ast::Request, schema: &ValidatorSchema) -> Result<(), Failure> {
    schema.validate_request(request, Extensions::all_available()).map_err(|error| {
        Failure::invalid(match error {
            // This one would quote the values.
            RequestValidationError::InvalidContext(_) => {
                "the request's context does not have the attributes that the schema says".into()
            }
            other => format!("the request does not fit the schema: {other}"),
        })
    })
}

/// # Safety
/// The request's slices are valid.
unsafe fn request_of(
    set: &RustPolicySet,
    entities: &RustPolicyEntities,
    request: &RustPolicyRequest,
) -> Result<ast::Request, Failure> {
    let entry = |number: u32| -> Result<ast::EntityUIDEntry, Failure> {
        let uid: &EntityUid = entities.uids.get(number as usize).ok_or_else(|| {
            Failure::invalid("the request names an entity that is not there")
        })?;
        Ok(ast::EntityUIDEntry::known(AsRef::<ast::EntityUID>::as_ref(uid).clone(), None))
    };
    let attributes = unsafe { elements(request.context, request.context_count) };
    let mut context = BTreeMap::new();
    for attribute in attributes {
        let name = unsafe { attribute.name.text() }?;
        if context.insert(name.into(), unsafe { value(attribute) }?).is_some() {
            return Err(Failure::invalid("an attribute of the context is there twice"));
        }
    }
    let asked = ast::Request::new_unchecked(
        entry(request.principal)?,
        entry(request.action)?,
        entry(request.resource)?,
        Some(ast::Context::Value(Arc::new(context))),
    );
    if let Some(schema) = &set.schema {
        let shape = shape(request, attributes)?;
        if !entities.valid_shapes.contains(&shape) {
            check(&asked, schema.as_ref())?;
            entities.valid_shapes.insert(shape);
        }
    }
    Ok(asked)
}

fn add_line(messages: &mut Option<Vec<String>>, line: impl ToString) {
    if let Some(lines) = messages {
        lines.push(line.to_string().replace('\n', " "));
    }
}

fn evaluate(
    set: &RustPolicySet,
    entities: &RustPolicyEntities,
    request: ast::Request,
    places: &[u32],
    messages: &mut Option<Vec<String>>,
) -> Result<Vec<u8>, Failure> {
    let evaluator =
        Evaluator::new(request, entities.entities.as_ref(), Extensions::all_available());
    let no_slots = HashMap::new(); // templates are refused
    let mut outcomes = Vec::with_capacity(places.len());
    for &place in places {
        let condition = set.conditions.get(place as usize);
        let condition = condition.ok_or_else(|| Failure::internal("a policy of another set"))?;
        outcomes.push(match evaluator.interpret(condition, &no_slots) {
            Ok(value) if value == ast::Value::from(true) => SATISFIED,
            Ok(value) if value == ast::Value::from(false) => UNSATISFIED,
            Ok(_) => {
                add_line(messages, format!("{}: not a Boolean", set.policies[place as usize].id()));
                ERRED
            }
            Err(error) => {
                add_line(messages, format!("{}: {error}", set.policies[place as usize].id()));
                ERRED
            }
        });
    }
    Ok(outcomes)
}

/// Cedar's own decision. Outcomes: its reasons, and the policies that erred.
fn authorize(
    set: &RustPolicySet,
    entities: &RustPolicyEntities,
    request: ast::Request,
) -> (bool, Vec<u8>) {
    let response = Authorizer::new().is_authorized(&request.into(), &set.whole, &entities.entities);
    let mut outcomes = vec![UNSATISFIED; set.policies.len()];
    let mut mark = |id: &PolicyId, outcome: u8| {
        if let Some(&place) = set.places.get(id) {
            outcomes[place] = outcome;
        }
    };
    for id in response.diagnostics().reason() {
        mark(id, SATISFIED);
    }
    for AuthorizationError::PolicyEvaluationError(error) in response.diagnostics().errors() {
        mark(error.policy_id(), ERRED);
    }
    (response.decision() == Decision::Allow, outcomes)
}

/// # Safety
/// As `include/rust/policy.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustPolicyEvaluate(
    set: *const RustPolicySet,
    entities: *const RustPolicyEntities,
    request: *const RustPolicyRequest,
    policies: *const u32,
    policy_count: usize,
    outcomes: *mut u8,
    messages: *mut RustBuffer,
    error: *mut RustBuffer,
) -> RustCode {
    let work = || {
        let (set, entities) = unsafe { (&*set, &*entities) };
        let places = unsafe { elements(policies, policy_count) };
        let request = unsafe { request_of(set, entities, &*request) }?;
        let mut lines = (!messages.is_null()).then(Vec::new);
        let found = evaluate(set, entities, request, places, &mut lines)?;
        if let Some(lines) = lines {
            unsafe { store(messages, lines.join("\n").into()) };
        }
        Ok(found)
    };
    unsafe { write_outcomes(work, outcomes, error) }
}

/// # Safety
/// As `include/rust/policy.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustPolicyAuthorize(
    set: *const RustPolicySet,
    entities: *const RustPolicyEntities,
    request: *const RustPolicyRequest,
    allowed: *mut u8,
    outcomes: *mut u8,
    error: *mut RustBuffer,
) -> RustCode {
    let work = || {
        let (set, entities) = unsafe { (&*set, &*entities) };
        let request = unsafe { request_of(set, entities, &*request) }?;
        let (allow, found) = authorize(set, entities, request);
        unsafe { store(allowed, u8::from(allow)) };
        Ok(found)
    };
    unsafe { write_outcomes(work, outcomes, error) }
}

/// # Safety
/// `outcomes` has room for as many as `work` returns.
unsafe fn write_outcomes(
    work: impl FnOnce() -> Result<Vec<u8>, Failure>,
    outcomes: *mut u8,
    error: *mut RustBuffer,
) -> RustCode {
    match crate::ffi::catch(work) {
        Ok(found) => {
            unsafe { std::ptr::copy_nonoverlapping(found.as_ptr(), outcomes, found.len()) };
            RustCode::Ok
        }
        Err(failure) => {
            unsafe { error.write(failure.message.into()) };
            failure.code
        }
    }
}
