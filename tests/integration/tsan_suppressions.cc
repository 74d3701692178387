// ThreadSanitizer sees our code and gRPC's templates inside it, but not gRPC's, protobuf's and
// abseil's libraries, which are not instrumented: what they order between threads looks like a race
// to it. Reports whose stack passes through them are dropped; all others count.
extern "C" const char* __tsan_default_suppressions();  // the name is ThreadSanitizer's
extern "C" const char* __tsan_default_suppressions() {
  return "race:grpc::\n"
         "race:grpc_core::\n"
         "race:google::protobuf::\n"
         "race:absl::\n";
}
