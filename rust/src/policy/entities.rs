//! The entities that requests name by number.

use super::set::RustPolicySet;
use super::source::check_depth;
use super::{read, store, ENTITIES_BYTES_MAX};
use crate::ffi::{entry, Failure, RustBuffer, RustCode, RustSlice};
use cedar_policy::{Entities, EntityUid};
use serde_json::{json, Value};
use std::collections::HashSet;
use std::sync::RwLock;

pub struct RustPolicyEntities {
    pub entities: Entities,
    /// In the order of the description.
    pub uids: Vec<EntityUid>,
    /// Of requests that the schema of the set allows.
    pub valid_shapes: Shapes,
}

/// Shapes of requests that were checked against the schema: that check takes a third of a decision's
/// time, and a caller's requests differ in values alone.
#[derive(Default)]
pub struct Shapes {
    known: RwLock<HashSet<Vec<u8>, ahash::RandomState>>,
}

impl Shapes {
    const MAX: usize = 16_384;

    pub fn contains(&self, shape: &[u8]) -> bool {
        self.known.read().is_ok_and(|known| known.contains(shape))
    }

    pub fn insert(&self, shape: Vec<u8>) {
        if let Ok(mut known) = self.known.write() {
            if known.len() >= Self::MAX {
                known.clear();
            }
            known.insert(shape);
        }
    }
}

/// One line of what the crate says and why.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

fn build(
    json: &str,
    schema: Option<&cedar_policy::Schema>,
) -> Result<(RustPolicyEntities, String), Failure> {
    if check_depth(json, false).is_err() {
        return Err(Failure::invalid("entities: brackets are nested too deep"));
    }
    let entities = Entities::from_json_str(json, schema)
        .map_err(|error| Failure::invalid(format!("entities: {}", reasons(&error))))?;
    let mut named: Vec<(String, EntityUid)> =
        entities.iter().map(|entity| (entity.uid().to_string(), entity.uid())).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    let described: Vec<Value> = named
        .iter()
        .map(|(text, uid)| {
            let ancestors: Vec<String> =
                entities.ancestors(uid).into_iter().flatten().map(ToString::to_string).collect();
            json!({
                "type": uid.type_name().to_string(),
                "id": uid.id().unescaped(),
                "text": text,
                "ancestors": ancestors,
            })
        })
        .collect();
    let uids = named.into_iter().map(|(_, uid)| uid).collect();
    Ok((RustPolicyEntities { entities, uids, valid_shapes: Shapes::default() }, Value::from(described).to_string()))
}

/// # Safety
/// As `include/rust/policy.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustPolicyEntitiesNew(
    set: *const RustPolicySet,
    json: RustSlice,
    entities: *mut *mut RustPolicyEntities,
    description: *mut RustBuffer,
    error: *mut RustBuffer,
) -> RustCode {
    let work = || {
        let json = unsafe { json.text() }?.to_owned();
        if json.len() > ENTITIES_BYTES_MAX {
            return Err(Failure::invalid(format!("entities: more than {ENTITIES_BYTES_MAX} bytes")));
        }
        let schema = unsafe { &*set }.schema.clone();
        let (built, text) = read(move || build(&json, schema.as_ref()))?;
        unsafe { store(description, text.into()) };
        Ok(Box::into_raw(Box::new(built)))
    };
    unsafe { entry(entities, error, work) }
}

/// # Safety
/// `entities` came from RustPolicyEntitiesNew and was not freed.
#[no_mangle]
pub unsafe extern "C" fn RustPolicyEntitiesFree(entities: *mut RustPolicyEntities) {
    if !entities.is_null() {
        drop(unsafe { Box::from_raw(entities) });
    }
}
