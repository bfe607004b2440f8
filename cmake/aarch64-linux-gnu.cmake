# Cross-compiles for 64-bit Arm Linux on Debian or Ubuntu and runs the tests under qemu:
#   apt-get install g++-aarch64-linux-gnu qemu-user-static
#   cmake -S . -B build-arm -DCMAKE_TOOLCHAIN_FILE=cmake/aarch64-linux-gnu.cmake -DBITNET_TESTS=ON
#   cmake --build build-arm && ctest --test-dir build-arm
# qemu emulates every feature unless the environment variable QEMU_CPU names a CPU. Each set of kernels has one:
#   QEMU_CPU=neoverse-n1 ctest --test-dir build-arm   # dot products, no i8mm
#   QEMU_CPU=cortex-a72 ctest --test-dir build-arm    # baseline NEON
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
