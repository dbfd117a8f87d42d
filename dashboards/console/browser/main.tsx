/** The console begins: key out of the URL, colours, page. */
import 'uplot/dist/uPlot.min.css'
import './style.css'
import { render } from 'preact'
import { Console } from './console.tsx'
import { adoptKey } from './key.ts'
import { followSystem } from './theme.ts'

adoptKey()
followSystem()
const root = document.getElementById('console')
if (root) render(<Console />, root)
