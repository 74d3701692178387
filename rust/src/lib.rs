//! The crates that parse untrusted text, behind the C interface of `include/rust/text.h`. An
//! adapter: what the parts mean together is decided in the room `text`.

#![allow(non_snake_case)] // the C names

mod chat_template;
mod ffi;
mod python;
mod sandbox;
mod segmenter;
