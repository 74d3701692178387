//! Text to token ids through the `tokenizers` models. Special tokens, the space prefix and the
//! meaning of a model's metadata are the C++ side's.

use crate::ffi::{catch, elements, entry, Failure, RustBuffer, RustCode, RustIds, RustSlice};
use ahash::AHashMap;
use fancy_regex::Regex;
use std::ops::Range;
use tokenizers::models::bpe::BPE;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

#[repr(C)]
pub struct RustSegmenterSpec {
    kind: u32,
    token_texts: *const RustSlice,
    token_ids: *const u32,
    token_count: usize,
    merges: *const u32,
    merge_count: usize,
    patterns: *const RustSlice,
    pattern_count: usize,
    ignore_merges: u8,
    byte_fallback: u8,
    unknown_text: RustSlice,
}

const BYTE_LEVEL_BPE: u32 = 0;
const PLAIN_BPE: u32 = 1;
const WORD_PIECE: u32 = 2;

pub enum RustSegmenter {
    ByteLevelBpe { patterns: Vec<Regex>, model: BPE },
    PlainBpe { model: BPE },
    WordPiece { model: WordPiece },
}

/// GPT-2's characters for bytes: printable Latin-1 stands for itself, the rest, in order, for
/// U+0100 and up.
const fn byte_characters() -> [char; 256] {
    let mut table = ['\0'; 256];
    let mut byte = 0usize;
    let mut next = 0x100u32;
    while byte < 256 {
        let itself = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        table[byte] = if itself {
            byte as u8 as char
        } else {
            next += 1;
            match char::from_u32(next - 1) {
                Some(character) => character,
                None => panic!("U+0100 and up are characters"),
            }
        };
        byte += 1;
    }
    table
}

static BYTE_CHARACTERS: [char; 256] = byte_characters();

fn build(spec: &RustSegmenterSpec) -> Result<RustSegmenter, Failure> {
    let texts = unsafe { elements(spec.token_texts, spec.token_count) };
    let texts = texts.iter().map(|t| unsafe { t.text() }).collect::<Result<Vec<&str>, _>>()?;
    let ids = unsafe { elements(spec.token_ids, spec.token_count) };
    let vocabulary: AHashMap<String, u32> =
        texts.iter().zip(ids).map(|(text, id)| (text.to_string(), *id)).collect();
    let unknown = unsafe { spec.unknown_text.text() }?;
    if spec.kind == WORD_PIECE {
        let model = WordPiece::builder().vocab(vocabulary).unk_token(unknown.to_string()).build();
        return Ok(RustSegmenter::WordPiece { model: model.map_err(crate_failure)? });
    }
    let pairs = unsafe { elements(spec.merges, spec.merge_count * 2) };
    let text_of = |index: u32| -> Result<String, Failure> {
        let text = texts.get(index as usize);
        Ok(text.ok_or_else(|| Failure::invalid("a merge of an unknown token"))?.to_string())
    };
    let merges = pairs
        .chunks_exact(2)
        .map(|pair| Ok((text_of(pair[0])?, text_of(pair[1])?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let mut builder = BPE::builder()
        .vocab_and_merges(vocabulary, merges)
        .ignore_merges(spec.ignore_merges != 0)
        .byte_fallback(spec.byte_fallback != 0)
        .fuse_unk(true);
    if !unknown.is_empty() {
        builder = builder.unk_token(unknown.to_string());
    }
    if spec.kind == PLAIN_BPE {
        // Texts hardly repeat as a whole: a cache would only hold on to them.
        let model = builder.cache_capacity(0).build().map_err(crate_failure)?;
        return Ok(RustSegmenter::PlainBpe { model });
    }
    if spec.kind != BYTE_LEVEL_BPE {
        return Err(Failure::invalid("an unknown kind of segmenter"));
    }
    let patterns = unsafe { elements(spec.patterns, spec.pattern_count) };
    let patterns = patterns
        .iter()
        .map(|pattern| {
            Regex::new(unsafe { pattern.text() }?).map_err(|e| Failure::invalid(format!("pattern: {e}")))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(RustSegmenter::ByteLevelBpe { patterns, model: builder.build().map_err(crate_failure)? })
}

fn crate_failure(error: tokenizers::Error) -> Failure {
    Failure::invalid(error.to_string())
}

/// The parts of `text` that each pattern in turn isolates.
fn split(text: &str, patterns: &[Regex]) -> Result<Vec<Range<usize>>, Failure> {
    let mut parts = vec![0..text.len()];
    for pattern in patterns {
        let mut finer = Vec::with_capacity(parts.len() + text.len() / 4);
        for part in parts {
            let mut end = part.start;
            for found in pattern.find_iter(&text[part.clone()]) {
                let found = found.map_err(|_| {
                    Failure::exhausted("the text asks too much of the pre-tokenizer's pattern")
                })?;
                let (from, to) = (part.start + found.start(), part.start + found.end());
                if from > end {
                    finer.push(end..from);
                }
                if to > from {
                    finer.push(from..to);
                }
                end = to;
            }
            if end < part.end {
                finer.push(end..part.end);
            }
        }
        parts = finer;
    }
    Ok(parts)
}

fn append(model: &impl Model, word: &str, ids: &mut Vec<u32>) -> Result<(), Failure> {
    let tokens = model.tokenize(word).map_err(crate_failure)?;
    ids.extend(tokens.iter().map(|token| token.id));
    Ok(())
}

fn encode(segmenter: &RustSegmenter, text: &str) -> Result<Vec<u32>, Failure> {
    let mut ids = Vec::with_capacity(text.len() / 3 + 1);
    match segmenter {
        RustSegmenter::ByteLevelBpe { patterns, model } => {
            let mut word = String::new();
            for part in split(text, patterns)? {
                word.clear();
                word.extend(text.as_bytes()[part].iter().map(|byte| BYTE_CHARACTERS[*byte as usize]));
                append(model, &word, &mut ids)?;
            }
        }
        RustSegmenter::PlainBpe { model } => append(model, text, &mut ids)?,
        RustSegmenter::WordPiece { model } => {
            let mut normal = NormalizedString::from(text);
            BertNormalizer::new(true, true, Some(true), true)
                .normalize(&mut normal)
                .map_err(crate_failure)?;
            let mut words = PreTokenizedString::from(normal);
            BertPreTokenizer.pre_tokenize(&mut words).map_err(crate_failure)?;
            for (word, _, _) in words.get_splits(OffsetReferential::Normalized, OffsetType::None) {
                append(model, word, &mut ids)?;
            }
        }
    }
    Ok(ids)
}

/// # Safety
/// The pointers are valid as `text.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustSegmenterNew(
    spec: *const RustSegmenterSpec,
    segmenter: *mut *mut RustSegmenter,
    error: *mut RustBuffer,
) -> RustCode {
    unsafe { entry(segmenter, error, || Ok(Box::into_raw(Box::new(build(&*spec)?)))) }
}

/// # Safety
/// `segmenter` came from RustSegmenterNew and is not used after.
#[no_mangle]
pub unsafe extern "C" fn RustSegmenterFree(segmenter: *mut RustSegmenter) {
    let _ = catch(|| {
        drop(unsafe { Box::from_raw(segmenter) });
        Ok(())
    });
}

/// # Safety
/// The pointers are valid as `text.h` says.
#[no_mangle]
pub unsafe extern "C" fn RustSegmenterEncode(
    segmenter: *const RustSegmenter,
    text: RustSlice,
    ids: *mut RustIds,
    error: *mut RustBuffer,
) -> RustCode {
    unsafe { entry(ids, error, || encode(&*segmenter, text.text()?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_characters_are_gpt2s() {
        assert_eq!(BYTE_CHARACTERS[b' ' as usize], 'Ġ');
        assert_eq!(BYTE_CHARACTERS[b'\n' as usize], 'Ċ');
        assert_eq!(BYTE_CHARACTERS[b'A' as usize], 'A');
        assert_eq!(BYTE_CHARACTERS[0xad], 'Ń');
    }

    #[test]
    fn each_pattern_isolates_its_matches() {
        let patterns = [Regex::new("[0-9]+").unwrap(), Regex::new(" ?b").unwrap()];
        assert_eq!(split("a b12bc", &patterns).unwrap(), [0..1, 1..3, 3..5, 5..6, 6..7]);
    }
}
