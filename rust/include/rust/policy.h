// The C interface to the crate `cedar-policy`: policies in Cedar's own language, validated against
// a schema and evaluated. Used by `governance` alone. rust/ffi.h says who owns what, how errors
// come back and which threads may call.
//
// Nothing is decided here: which policies are asked (slicing), what an erroring forbid means and
// what is cached is governance's. On the path of a request no text is parsed but that of an
// extension value (ip, decimal, datetime).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "rust/ffi.h"

#ifdef __cplusplus
extern "C" {
#endif

// Bounds. Above them: kRustInvalid.
enum {
  kRustPolicyTextBytesMax = 1 << 20,        // of the schema, and of the policies
  kRustPolicyStatementBytesMax = 16 << 10,  // of one policy
  kRustPolicyDepthMax = 64,                 // of brackets in the schema, the policies, entities
  kRustPolicyCountMax = 10000,              // policies of a set
  kRustPolicyEntitiesBytesMax = 64 << 20,
};

// Policies, with the schema they were validated against. Immutable.
typedef struct RustPolicySet RustPolicySet;

// Parses both texts and validates the policies, strictly. An empty schema leaves out the
// validation; then nothing promises that attributes are there. Templates are refused. `error`: a
// line each, at most 20: "policies:LINE:COLUMN: message" or "schema:LINE:COLUMN: message", both
// counted from 1, columns in characters; without position where the crate names none. `description`
// is JSON:
//   policies: in the order of the text: [{id, effect: "permit"|"forbid", annotations: {key: value},
//     line, column, text,
//     principal: {op: "any"|"eq"|"in"|"is"|"is_in", entity?, type?},
//     action: {op: "any"|"eq"|"in", entities?: []}}]. An id is the annotation @id, which must be
//     unique, or "policy<N>", N counted from 0. Entities are in Cedar's syntax: Type::"id".
//   context: the attributes of `context` that any policy mentions, or null if one uses it whole.
//   warnings: a line each, as errors.
RustCode RustPolicySetNew(RustSlice schema,
                          RustSlice policies,
                          RustPolicySet** set,
                          RustBuffer* description,
                          RustBuffer* error);
void RustPolicySetFree(RustPolicySet* set);

// Principals, actions, resources and what they are in. Immutable.
typedef struct RustPolicyEntities RustPolicyEntities;

// `json` is Cedar's format: [{uid: {type, id}, attrs: {}, parents: [{type, id}]}]. Checked against
// the set's schema, which adds its actions.
// `description` is JSON: [{type, id, text, ancestors: [text]}]; an entity's place in it is the
// number by which requests name it; text is Type::"id".
RustCode RustPolicyEntitiesNew(const RustPolicySet* set,
                               RustSlice json,
                               RustPolicyEntities** entities,
                               RustBuffer* description,
                               RustBuffer* error);
void RustPolicyEntitiesFree(RustPolicyEntities* entities);

typedef enum RustPolicyKind {
  kRustPolicyBool = 0,      // integer: 0 or 1
  kRustPolicyLong = 1,      // integer
  kRustPolicyString = 2,    // text
  kRustPolicyIp = 3,        // text: an address or a range
  kRustPolicyDecimal = 4,   // text: 12.3456
  kRustPolicyDatetime = 5,  // text: 2026-01-31T23:59:59Z
  // A value of these types that no policy of the set mentions: text is not read.
  kRustPolicyUnreadIp = 6,
  kRustPolicyUnreadDecimal = 7,
  kRustPolicyUnreadDatetime = 8,
} RustPolicyKind;

// An attribute of the request's context.
typedef struct RustPolicyAttribute {
  RustSlice name;
  RustPolicyKind kind;
  int64_t integer;
  RustSlice text;
} RustPolicyAttribute;

typedef struct RustPolicyRequest {
  uint32_t principal, action, resource;  // places in the entities' description
  const RustPolicyAttribute* context;    // names must differ
  size_t context_count;
} RustPolicyRequest;

typedef enum RustPolicyOutcome {
  kRustPolicyUnsatisfied = 0,
  kRustPolicySatisfied = 1,
  kRustPolicyErred = 2,  // its evaluation failed
} RustPolicyOutcome;

// Evaluates the policies numbered in `policies`, of which the caller knows that the request's
// principal and action are in their scopes, with entities that were made for `set`: `outcomes` gets
// a RustPolicyOutcome for each. `messages`, if not null, gets a line for each policy that erred; it
// may hold values of the request. kRustInvalid: the request does not fit the schema (types of
// principal and resource, attributes and their types), or an attribute is not what its kind says;
// no value is quoted.
RustCode RustPolicyEvaluate(const RustPolicySet* set,
                            const RustPolicyEntities* entities,
                            const RustPolicyRequest* request,
                            const uint32_t* policies,
                            size_t policy_count,
                            uint8_t* outcomes,
                            RustBuffer* messages,
                            RustBuffer* error);

// Cedar's own authorizer over the whole set, the reference for what is made of the above: its
// decision, and for every policy kRustPolicySatisfied if it is a reason of the decision or
// kRustPolicyErred if Cedar left it out. Errors as above.
RustCode RustPolicyAuthorize(const RustPolicySet* set,
                             const RustPolicyEntities* entities,
                             const RustPolicyRequest* request,
                             uint8_t* allowed,
                             uint8_t* outcomes,
                             RustBuffer* error);

#ifdef __cplusplus
}  // extern "C"
#endif
