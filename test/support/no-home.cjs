// Loaded before the program (node --require): the user has no HOME and no entry in the list of users, as under a bare
// number in a container.

const os = require("node:os");
const { syncBuiltinESMExports } = require("node:module");

for (const name of ["homedir", "userInfo"]) {
  os[name] = () => {
    const message = `A system error occurred: uv_os_${name} returned ENOENT (no such file or directory)`;
    throw Object.assign(new Error(message), { code: "ERR_SYSTEM_ERROR" });
  };
}
syncBuiltinESMExports();
