// Goal: notes and checkpoints as C2SP writes them, read strictly. Method: the worked examples of
// the specifications; what our keys sign read back; every character of a note changed.
#include "governance/verify/note.h"

#include <gtest/gtest.h>

#include "governance/verify/base64.h"
#include "governance/verify/checkpoint.h"
#include "governance/verify/merkle.h"
#include "governance/verify/tiles.h"

namespace inferd {
namespace {

// C2SP signed-note, "Example".
constexpr char kExampleKey[] =
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
constexpr char kExampleNote[] =
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    "\n";

TEST(Note, TheSpecificationsExample) {
  const auto key = NoteVerifier::Parse(kExampleKey);
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(key->VKey(), kExampleKey);
  const auto note = ParseNote(kExampleNote);
  ASSERT_TRUE(note.ok()) << note.status();
  EXPECT_TRUE(CheckSignature(*note, *key).ok());
  EXPECT_EQ(note->text + '\n' + SignatureLine(note->signatures[0]), kExampleNote);
}

TEST(Note, EveryChangedCharacterIsSeen) {
  const auto key = NoteVerifier::Parse(kExampleKey);
  const std::string note = kExampleNote;
  for (size_t i = 0; i < note.size(); ++i) {
    for (const int flip : {0x01, 0xff}) {
      std::string changed = note;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      const auto parsed = ParseNote(changed);
      EXPECT_FALSE(parsed.ok() && CheckSignature(*parsed, *key).ok()) << i;
    }
  }
}

TEST(Note, RefusesOtherForms) {
  const std::string note = kExampleNote;
  const size_t last = note.size() - 1;
  for (const std::string& bad : {std::string(),
                                 std::string("text\n"),
                                 note.substr(0, last),
                                 note + "x",
                                 note + "\n",
                                 "\x01" + note,
                                 "\xff" + note,
                                 note.substr(0, last) + " \n",
                                 std::string("text\n\n— + AAAAAAA=\n"),
                                 std::string("text\n\n— a AAAA\n"),
                                 std::string("text\n\n—  AAAAAAA=\n"),
                                 std::string("text\n\n- a AAAAAAA=\n"),
                                 std::string("t\n\n— a\xc2\xa0 AAAAAAA=\n")}) {
    EXPECT_FALSE(ParseNote(bad).ok()) << bad;
  }
  EXPECT_TRUE(ParseNote("text\n\nmore\n\n— a AAAAAAA=\n").ok());
}

TEST(Note, ManySignaturesOfOthersAreIgnored) {
  const auto key = NoteVerifier::Parse(kExampleKey);
  std::string note = kExampleNote;
  for (size_t i = 1; i < kNoteSignaturesMax; ++i) {
    note += "— other" + std::to_string(i) + " AAAAAAA=\n";
  }
  const auto parsed = ParseNote(note);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(CheckSignature(*parsed, *key).ok());
  EXPECT_FALSE(ParseNote(note + "— one.more AAAAAAA=\n").ok());
}

TEST(Note, KeysSignAndReadBack) {
  const auto signer = NoteSigner::Generate("example.com/log");
  ASSERT_TRUE(signer.ok()) << signer.status();
  const auto again = NoteSigner::Parse(signer->SKey());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->verifier().VKey(), signer->verifier().VKey());
  const NoteSignature signature = again->Sign("text\n");
  EXPECT_TRUE(signer->verifier().Verify("text\n", signature));
  EXPECT_FALSE(signer->verifier().Verify("texT\n", signature));
  // The same key under another name has another id.
  const NoteVerifier other("b", NoteKeyType::kEd25519, signer->verifier().public_key());
  EXPECT_FALSE(other.Matches(signature));
  for (const char* bad : {"", "a b", "a+b", "a\n"}) {
    EXPECT_FALSE(NoteSigner::Generate(bad).ok()) << bad;
  }
}

TEST(Note, KeysOfOtherFormsAreRefused) {
  for (const std::string& bad :
       {std::string(),
        std::string("a"),
        std::string("a+530d903a+AAAA"),
        // Another id, another type, capital hex.
        std::string("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
        std::string("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
        std::string("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")}) {
    EXPECT_FALSE(NoteVerifier::Parse(bad).ok()) << bad;
    EXPECT_FALSE(NoteSigner::Parse(bad).ok()) << bad;
  }
  EXPECT_FALSE(NoteSigner::Parse(kExampleKey).ok());
}

TEST(Note, Cosignatures) {
  const auto witness = NoteSigner::Generate("witness.example/w1", NoteKeyType::kEd25519Cosignature);
  ASSERT_TRUE(witness.ok()) << witness.status();
  NoteSignature signature = witness->Cosign("text\n", 1679315147);
  EXPECT_TRUE(witness->verifier().Verify("text\n", signature));
  EXPECT_EQ(*CosignatureTime(signature), 1679315147u);
  signature.signature[7] ^= 1;  // the time
  EXPECT_FALSE(witness->verifier().Verify("text\n", signature));
  signature.signature.resize(3);
  EXPECT_FALSE(CosignatureTime(signature).ok());
}

TEST(Checkpoint, ReadsWhatItWrites) {
  const auto signer = NoteSigner::Generate("example.com/log");
  const Checkpoint checkpoint{.origin = "example.com/log/1", .size = 70'000, .root = LeafHash("x")};
  const std::string note = SignCheckpoint(checkpoint, *signer);
  const auto opened = OpenCheckpoint(note, signer->verifier());
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(opened->checkpoint, checkpoint);
  const auto stranger = NoteSigner::Generate("example.com/log");
  EXPECT_FALSE(OpenCheckpoint(note, stranger->verifier()).ok());
}

TEST(Checkpoint, RefusesOtherForms) {
  const std::string root = EncodeHash(Digest());
  EXPECT_TRUE(ParseCheckpoint("o\n0\n" + root + "\n").ok());
  EXPECT_TRUE(ParseCheckpoint("o\n10\n" + root + "\nextension\n").ok());
  for (const std::string& bad : {std::string(),
                                 "\n1\n" + root + "\n",
                                 "o\n01\n" + root + "\n",
                                 "o\n-1\n" + root + "\n",
                                 "o\n1\n" + root,
                                 "o\n1\n" + root + "\n\n",
                                 "o\n1\n" + root.substr(1) + "\n",
                                 "o\n18446744073709551616\n" + root + "\n",
                                 "o\n1 \n" + root + "\n"}) {
    EXPECT_FALSE(ParseCheckpoint(bad).ok()) << bad;
  }
}

TEST(Base64, IsStrict) {
  for (const std::string& bytes : {std::string(),
                                   std::string("a"),
                                   std::string("ab"),
                                   std::string("abc"),
                                   std::string("\xff\xfe\0x", 4)}) {
    const auto back = DecodeBase64(EncodeBase64(bytes));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, bytes);
  }
  for (const char* bad : {"a",
                          "ab",
                          "abc",
                          "ab=c",
                          "YQ=",
                          "YQ",
                          "YR==",
                          "YWJ=",
                          "YQ==YQ==",
                          "====",
                          "=",
                          "YQ==\n",
                          "Y-==",
                          " YQ="}) {
    EXPECT_FALSE(DecodeBase64(bad).ok()) << bad;
  }
}

// docs/formats/bundle.md.
TEST(Tiles, GoldenBytes) {
  std::string bundle;
  AppendEntry(bundle, "{}");
  AppendEntry(bundle, "{\"a\":1}");
  EXPECT_EQ(bundle, std::string("\x00\x02\x7b\x7d\x00\x07\x7b\x22\x61\x22\x3a\x31\x7d", 13));
  const Digest hashes[] = {LeafHash("{}"), LeafHash("{\"a\":1}")};
  EXPECT_EQ(EncodeTile(hashes).substr(32),
            std::string(hashes[1].bytes.begin(), hashes[1].bytes.end()));
}

TEST(Tiles, BundlesReadBack) {
  std::string bundle;
  const std::string leaves[] = {"", "a", std::string(65'535, 'x')};
  for (const std::string& leaf : leaves) {
    AppendEntry(bundle, leaf);
  }
  const auto parsed = ParseBundle(bundle, 3);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(std::equal(parsed->begin(), parsed->end(), std::begin(leaves), std::end(leaves)));
  EXPECT_FALSE(ParseBundle(bundle, 2).ok());
  EXPECT_FALSE(ParseBundle(bundle, 4).ok());
  EXPECT_FALSE(ParseBundle(std::string_view(bundle).substr(0, bundle.size() - 1), 3).ok());
  EXPECT_FALSE(ParseBundle(std::string(1, '\0'), 1).ok());
  EXPECT_FALSE(ParseTile(std::string(31, 'x'), 1).ok());
}

}  // namespace
}  // namespace inferd
