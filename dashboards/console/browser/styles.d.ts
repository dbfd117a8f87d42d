/** Stylesheets are what esbuild makes of an import. */
declare module '*.css'
