# The macros of Slicer that the module uses: the same arguments, the same complaints, the same installed files.

include(CTest)

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(module "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(module_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule does not know: ${module_UNPARSED_ARGUMENTS}")
  endif()
  set(destination "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  foreach(file IN LISTS module_SCRIPTS module_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule was given a file that is not there: ${file}")
    endif()
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${destination}/${file}" COPYONLY)
  endforeach()
  install(DIRECTORY "${destination}/" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")
endmacro()

macro(slicer_add_python_unittest)
  cmake_parse_arguments(unittest "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS" ${ARGN})
  get_filename_component(unittest_name "${unittest_SCRIPT}" NAME_WE)
  add_test(NAME "py_${unittest_TESTNAME_PREFIX}${unittest_name}" COMMAND Slicer "${unittest_SCRIPT}")
endmacro()
