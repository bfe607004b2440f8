# Cross-compiles with zig (https://ziglang.org), which brings the C and C++ libraries of all its targets and links C++'s
# statically. scripts/build-packages.mjs runs it with every target of scripts/platforms.mjs; the tests of the core:
#   cmake -S . -B build-musl -DCMAKE_TOOLCHAIN_FILE=cmake/zig.cmake -DZIG=zig -DZIG_TARGET=x86_64-linux-musl \
#     -DZIG_SYSTEM=Linux -DZIG_PROCESSOR=x86_64 -DBITNET_TESTS=ON -DCMAKE_EXE_LINKER_FLAGS=-static
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES ZIG ZIG_TARGET ZIG_SYSTEM ZIG_PROCESSOR)
set(CMAKE_SYSTEM_NAME ${ZIG_SYSTEM})
set(CMAKE_SYSTEM_PROCESSOR ${ZIG_PROCESSOR})
set(CMAKE_CXX_COMPILER ${ZIG})
set(CMAKE_CXX_COMPILER_ARG1 "c++ -target ${ZIG_TARGET}")
# An archiver for the objects of every target; D: no times and owners in it.
set(CMAKE_CXX_ARCHIVE_CREATE "\"${ZIG}\" ar qcsD <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "\"${ZIG}\" ar qsD <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "")
# Neither the paths of this machine nor anything else that differs from build to build; zig checks for undefined
# behaviour where it is not told otherwise.
set(CMAKE_CXX_FLAGS_INIT "-ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -fno-sanitize=all")
