# A toolchain without a compiler: a scripted module needs none, and the computer may have none.

foreach(language C CXX)
  set(CMAKE_${language}_COMPILER "${CMAKE_COMMAND}")
  set(CMAKE_${language}_COMPILER_FORCED TRUE)
  set(CMAKE_${language}_COMPILER_ID_RUN TRUE)
endforeach()
