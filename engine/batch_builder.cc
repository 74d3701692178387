#include "engine/batch_builder.h"

#include <algorithm>

namespace inferd::engine_internal {

void BatchBuilder::Build(const StepPlan& plan,
                         const std::vector<RowOwner>& owners,
                         size_t num_groups) {
  batch_.tokens.clear();
  batch_.positions.clear();
  batch_.logit_rows.clear();
  batch_.sequences.resize(plan.rows.size());
  sample_rows_.clear();
  histories_.resize(std::max(histories_.size(), plan.rows.size()));
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
      batch_.tokens.push_back(p < row.end() ? sequence.token(p)
                                            : row.draft[static_cast<size_t>(p - row.end())]);
      batch_.positions.push_back(p);
    }
    if (row.sample) {
      AddDraws(row, owners[i], histories_[i]);
    }
  }
}

// At each position from the last known token on. What is drawn behind a draft is drawn as if it had
// come true.
void BatchBuilder::AddDraws(const PlanRow& row,
                            const RowOwner& owner,
                            std::vector<TokenId>& history) {
  const Sequence& sequence = *row.sequence;
  const GenerationState& generation = *owner.generation;
  const ChoiceState& choice = generation.choices[static_cast<size_t>(owner.choice)].state;
  const auto n_draft = static_cast<int32_t>(row.draft.size());
  std::span<const TokenId> output = sequence.output();
  if (n_draft > 0) {
    history.assign(output.begin(), output.end());
    history.insert(history.end(), row.draft.begin(), row.draft.end());
    output = history;
  }
  for (int32_t ahead = 0; ahead <= n_draft; ++ahead) {
    batch_.logit_rows.push_back(batch_.n_rows() - 1 - n_draft + ahead);
    SampleRow& draw = sample_rows_.emplace_back();
    draw.logits_row = static_cast<int32_t>(batch_.logit_rows.size() - 1);
    draw.params = &generation.request.sampling;
    draw.choice = owner.choice;
    draw.position = sequence.num_tokens() + ahead;
    draw.prompt = sequence.prompt();
    draw.output = output.first(sequence.output().size() + static_cast<size_t>(ahead));
    if (choice.below_min_tokens(ahead)) {
      draw.suppressed = generation.suppressed;
    }
  }
}

}  // namespace inferd::engine_internal
