#include "convert/convert.h"

#include <string>

#include "base/error.h"
#include "base/file_map.h"
#include "base/file_writer.h"
#include "base/threads.h"
#include "convert/row_loop.h"
#include "convert/source_rows.h"
#include "convert/tensor_writer.h"
#include "convert/verification.h"

namespace bitnet {
namespace {

// One for every job, all checked before anything is written.
std::vector<SourceRows> open_sources(const ConvertPlan& plan, const std::vector<FileMap>& maps) {
  std::vector<SourceRows> sources;
  sources.reserve(plan.jobs.size());
  for (const ConvertJob& job : plan.jobs) {
    const bool random = job.source.kind == SourceKind::kRandom;
    if (!random && job.source.file >= maps.size())
      throw Error(ErrorCode::kUsage, "tensor " + job.name + ": no such source file");
    sources.emplace_back(job, random ? nullptr : &maps[job.source.file], plan.tl_configs);
  }
  return sources;
}

std::vector<ConvertResult> write_tensors(const ConvertPlan& plan,
                                         const std::vector<SourceRows>& sources, RowLoop& loop,
                                         ConvertProgress& progress) {
  FileWriter file(plan.outfile);
  file.resize(plan.out_bytes);
  std::vector<ConvertResult> results;
  for (size_t i = 0; i < sources.size(); ++i) {
    progress.tensor = i;
    if (i + 1 < sources.size()) sources[i + 1].prefetch();
    try {
      results.push_back(write_tensor(sources[i], plan.tl_configs, loop, file, progress));
    } catch (const Error& error) {
      const std::string what = error.what();
      if (error.code == ErrorCode::kAborted || what.find(plan.jobs[i].name) != std::string::npos)
        throw;
      throw Error(error.code, "tensor " + plan.jobs[i].name + ": " + what);
    }
  }
  file.flush();
  return results;
}

}  // namespace

std::vector<ConvertResult> convert(const ConvertPlan& plan, ConvertProgress& progress) {
  std::vector<FileMap> maps;
  for (const std::string& path : plan.files) maps.emplace_back(path);
  ThreadPool pool(plan.n_threads > 0 ? plan.n_threads : physical_cores());
  RowLoop loop(pool, progress.abort);
  const std::vector<SourceRows> sources = open_sources(plan, maps);
  const std::vector<ConvertResult> results = write_tensors(plan, sources, loop, progress);
  verify(plan, results, loop, progress);
  return results;
}

}  // namespace bitnet
