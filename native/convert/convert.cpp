#include "convert/convert.h"

#include <map>

#include "base/cores.h"
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

using FileMaps = std::map<std::string, FileMap>;  // by path

// One for every tensor, all checked before anything is written.
std::vector<SourceRows> open_sources(const ConvertPlan& plan, FileMaps& maps) {
  std::vector<SourceRows> sources;
  sources.reserve(plan.tensors.size());
  for (const PlannedTensor& tensor : plan.tensors) {
    const ConvertSource& source = tensor.job.source;
    const FileMap* map = source.kind == SourceKind::kRandom
                             ? nullptr
                             : &maps.try_emplace(source.path, source.path).first->second;
    sources.emplace_back(tensor, map);
  }
  return sources;
}

std::vector<ConvertResult> write_file(const ConvertPlan& plan, const std::string& path,
                                      const std::vector<SourceRows>& sources, RowLoop& loop,
                                      ConvertProgress& progress) {
  FileWriter file(path);
  file.write(0, plan.head.data(), plan.head.size());
  file.resize(plan.file_bytes);
  std::vector<ConvertResult> results;
  for (size_t i = 0; i < sources.size(); ++i) {
    progress.tensor = i;
    if (i + 1 < sources.size()) sources[i + 1].prefetch();
    const std::string& name = plan.tensors[i].job.name;
    try {
      results.push_back(write_tensor(sources[i], loop, file, progress));
    } catch (const Error& error) {
      const std::string what = error.what();
      if (error.code == ErrorCode::kAborted || what.find(name) != std::string::npos) throw;
      throw Error(error.code, "tensor " + name + ": " + what);
    }
  }
  file.flush();
  return results;
}

}  // namespace

std::vector<ConvertResult> convert(const ConvertPlan& plan, const std::string& outfile,
                                   ConvertProgress& progress) {
  FileMaps maps;
  ThreadPool pool(plan.n_threads > 0 ? plan.n_threads : physical_cores());
  RowLoop loop(pool, progress.abort);
  const std::vector<SourceRows> sources = open_sources(plan, maps);
  const std::vector<ConvertResult> results = write_file(plan, outfile, sources, loop, progress);
  verify(plan, outfile, results, loop, progress);
  return results;
}

}  // namespace bitnet
