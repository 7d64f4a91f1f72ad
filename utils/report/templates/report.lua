-- Numbers of figures and tables, and references to them: fields of Word, \label and \ref of LaTeX, links of HTML.
local words, counts, labels = {fig = "Figure", tbl = "Table"}, {fig = 0, tbl = 0}, {}
local marks, series = 9000, ""  -- S in the supplement, where numbers begin anew
local latex, docx = FORMAT == "latex", FORMAT == "docx"

local function xml(text, ...) return pandoc.RawInline("openxml", text:format(...)) end

local function number(block)
  local kind = block.identifier:sub(1, 3)
  counts[kind] = counts[kind] + 1
  local word, count = words[kind], series .. counts[kind]
  marks = marks + 1  -- of Word
  labels[block.identifier] = {text = word .. "\u{a0}" .. count, bookmark = word .. "_" .. count}
  local caption = block.caption.long[1].content
  if docx then
    caption:insert(1, xml('<w:bookmarkStart w:id="%d" w:name="%s_%s"/><w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">%s\u{a0}%s</w:t></w:r>' ..
      '<w:fldSimple w:instr=" SEQ %s%s \\* ARABIC "><w:r><w:rPr><w:b/></w:rPr><w:t>%d</w:t></w:r></w:fldSimple><w:bookmarkEnd w:id="%d"/><w:r><w:t xml:space="preserve">. </w:t></w:r>',
      marks, word, count, word, series, word, series, counts[kind], marks))
  elseif not latex then
    caption:insert(1, pandoc.Strong(labels[block.identifier].text .. ". "))
  end
end

local function refer(cite)
  local found = pandoc.List()
  for _, one in ipairs(cite.citations) do
    local label = labels[one.id]
    if not label then return nil end  -- a work
    found:insert(pandoc.Str(#found == 0 and "(" or ", "))
    if latex then found:insert(pandoc.RawInline("latex", label.text:match("%a+") .. "~\\ref{" .. one.id .. "}"))
    elseif docx then found:insert(xml('<w:fldSimple w:instr=" REF %s \\h "><w:r><w:t>%s</w:t></w:r></w:fldSimple>', label.bookmark, label.text))
    else found:insert(pandoc.Link(label.text, "#" .. one.id)) end
  end
  found:insert(pandoc.Str(")"))
  return found
end

function Pandoc(document)
  local blocks = pandoc.List()
  for _, block in ipairs(document.blocks) do
    if words[(block.identifier or ""):match("^(%a+):")] then number(block) end
    if block.identifier == "supplement" then
      series, counts = "S", {fig = 0, tbl = 0}
      blocks:insert(pandoc.RawBlock("latex", "\\supplement"))
      blocks:insert(pandoc.RawBlock("openxml", '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'))
    end
    if latex and block.identifier == "references" then block = pandoc.RawBlock("latex", "\\bibliography{report}") end
    blocks:insert(block)
  end
  if latex then document.meta.bibliography = nil end  -- or it would be printed a second time
  document.blocks = blocks
  return document:walk({Cite = refer})
end
