#include "engine/batch_builder.h"

namespace inferd::engine_internal {

void BatchBuilder::Build(const StepPlan& plan,
                         const std::vector<RowOwner>& owners,
                         size_t num_groups) {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.logit_rows.clear();
  batch_.sequences.resize(plan.rows.size());
  sample_rows_.clear();
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const PlanRow& row = plan.rows[i];
    const Sequence& sequence = *row.sequence;
    SequenceRows& rows = batch_.sequences[i];
    rows.first_row = batch_.n_rows();
    rows.n_rows = row.n_tokens;
    rows.start = row.start;
    rows.block_tables.clear();
    for (size_t g = 0; g < num_groups; ++g) {
      rows.block_tables.push_back(sequence.block_table(g));
    }
    for (int64_t p = row.start; p < row.start + row.n_tokens; ++p) {
      batch_.tokens.push_back(sequence.token(p));
      batch_.positions.push_back(p);
    }
    if (!row.sample) {
      continue;
    }
    batch_.logit_rows.push_back(batch_.n_rows() - 1);
    const RowOwner& owner = owners[i];
    const GenerationState& generation = *owner.generation;
    SampleRow draw;
    draw.logits_row = static_cast<int32_t>(batch_.logit_rows.size() - 1);
    draw.params = &generation.request.sampling;
    draw.choice = owner.choice;
    draw.position = sequence.num_tokens();
    draw.prompt = sequence.prompt();
    draw.output = sequence.output();
    if (generation.choices[static_cast<size_t>(owner.choice)].state.below_min_tokens()) {
      draw.suppressed = generation.suppressed;
    }
    sample_rows_.push_back(draw);
  }
}

}  // namespace inferd::engine_internal
