//! The crates that parse untrusted text, behind the C interfaces of `include/rust/text.h` and
//! `include/rust/policy.h`. An adapter: what the parts mean together is decided in the rooms `text`
//! and `governance`.

#![allow(non_snake_case)] // the C names

mod chat_template;
mod ffi;
mod policy;
mod python;
mod sandbox;
mod segmenter;
